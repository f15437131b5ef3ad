/* User and system time of processes, in microseconds. */
#ifndef LOAD_CPU_H
#define LOAD_CPU_H

#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/* Of a process; 0 once it is gone. Source: proc(5), stat. */
static inline double process_cpu_us(int pid) {
    char name[64], line[2048];
    snprintf(name, sizeof name, "/proc/%d/stat", pid);
    FILE *file = fopen(name, "r");
    if (!file) return 0;
    size_t n = fread(line, 1, sizeof line - 1, file);
    fclose(file);
    line[n] = 0;
    char *at = strrchr(line, ')');
    for (int field = 1; at && field < 13; field++) at = strchr(at + 1, ' ');
    unsigned long user = 0, system = 0;
    if (at) sscanf(at, "%lu %lu", &user, &system);
    return (double)(user + system) * 1e6 / (double)sysconf(_SC_CLK_TCK);
}

static inline double own_cpu_us(void) {
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1e6 +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

/* Of the whole machine: what others take while we measure shows as the difference. */
static inline double machine_cpu_us(void) {
    unsigned long user = 0, nice = 0, system = 0, idle, wait, irq = 0, soft = 0, steal = 0;
    FILE *file = fopen("/proc/stat", "r");
    if (!file) return 0;
    int read = fscanf(file, "cpu %lu %lu %lu %lu %lu %lu %lu %lu", &user, &nice, &system, &idle, &wait,
                      &irq, &soft, &steal);
    fclose(file);
    unsigned long busy = read == 8 ? user + nice + system + irq + soft + steal : 0;
    return (double)busy * 1e6 / (double)sysconf(_SC_CLK_TCK);
}

#endif
