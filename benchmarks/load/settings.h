/* What `load` is told, as name=value words. Times are seconds unless their names say more. */
#ifndef LOAD_SETTINGS_H
#define LOAD_SETTINGS_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct {
    long port, connections, tokens, pace_us, windows, vanish_ms, even;
    double rate, warm_s, count_s, probe_per_s, settle_s;
    const char *streams, *key, *body, *path, *pids, *mode;
} set = {.connections = 4, .tokens = 200, .pace_us = 50000, .windows = 1, .vanish_ms = 1000,
         .warm_s = 1, .count_s = 5, .settle_s = 30, .streams = "100", .key = "", .pids = "",
         .path = "/harmost.router.v1.RouterService/StreamChat", .mode = "read"};

static const struct {
    const char *name;
    char kind; /* long, double, text */
    void *to;
} settings[] = {{"port", 'l', &set.port},           {"connections", 'l', &set.connections},
                {"tokens", 'l', &set.tokens},       {"pace_us", 'l', &set.pace_us},
                {"windows", 'l', &set.windows},     {"vanish_ms", 'l', &set.vanish_ms},
                {"even", 'l', &set.even},           {"rate", 'd', &set.rate},
                {"warm_s", 'd', &set.warm_s},       {"count_s", 'd', &set.count_s},
                {"settle_s", 'd', &set.settle_s},   {"probe_per_s", 'd', &set.probe_per_s},
                {"streams", 't', &set.streams},     {"key", 't', &set.key},
                {"body", 't', &set.body},           {"path", 't', &set.path},
                {"pids", 't', &set.pids},           {"mode", 't', &set.mode}};

static void parse_settings(int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        char *value = strchr(argv[i], '=');
        size_t known = sizeof settings / sizeof *settings, j = 0;
        if (value) *value++ = 0;
        while (value && j < known && strcmp(settings[j].name, argv[i])) j++;
        if (!value || j == known) fprintf(stderr, "load: unknown `%s`\n", argv[i]), exit(2);
        if (settings[j].kind == 'l') *(long *)settings[j].to = atol(value);
        else if (settings[j].kind == 'd') *(double *)settings[j].to = atof(value);
        else *(const char **)settings[j].to = value;
    }
    if (!set.port || !set.body) fprintf(stderr, "load: give port and body\n"), exit(2);
}

#endif
