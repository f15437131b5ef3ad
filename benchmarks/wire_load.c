/* Load for bench_wire.py: gRPC calls over cleartext HTTP/2 from one thread, cheaper than the server.
 *
 * Keeps `streams` calls open over `connections` connections; a call that ends is begun anew. After
 * `warm_s` counts for `count_s` and prints one JSON line: messages, calls, errors, CPU of the server
 * and of itself in microseconds, latency of calls in microseconds.
 *
 * usage: wire_load port server_pid path request_hex connections streams warm_s count_s ramp_per_s
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <nghttp2/nghttp2.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { BUFFER_BYTES = 1 << 18, CONNECTIONS_MAX = 256, LATENCIES_MAX = 1 << 21, BODY_MAX = 1 << 16 };

struct connection {
    int socket;
    nghttp2_session *session;
    uint8_t *unsent;
    size_t unsent_bytes;
    int wants_write;
};

struct call {
    struct connection *connection;
    double begun_s;
    uint8_t prefix[5];
    uint32_t prefix_bytes;
    uint32_t left_bytes;
    int status;
};

static struct connection connections[CONNECTIONS_MAX];
static int connection_count, epoll_fd, counting, stopping;
static const char *method_path;
static uint8_t body[BODY_MAX];
static size_t body_bytes;
static uint64_t messages, calls, errors;
static uint32_t *latencies_us;
static size_t latency_count;

static double now_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

static void die(const char *what) {
    perror(what);
    exit(1);
}

/* User and system time of a whole process, in microseconds; fields 14 and 15 of proc(5) stat. */
static double process_cpu_us(int pid) {
    char name[64], line[2048];
    snprintf(name, sizeof name, "/proc/%d/stat", pid);
    FILE *file = fopen(name, "r");
    if (!file) die(name);
    size_t n = fread(line, 1, sizeof line - 1, file);
    fclose(file);
    line[n] = 0;
    char *at = strrchr(line, ')') + 2;
    for (int field = 3; field < 14; field++) at = strchr(at, ' ') + 1;
    unsigned long user, system;
    sscanf(at, "%lu %lu", &user, &system);
    return (user + system) * 1e6 / sysconf(_SC_CLK_TCK);
}

static double own_cpu_us(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e6 + usage.ru_utime.tv_usec +
           usage.ru_stime.tv_usec;
}

static ssize_t read_body(nghttp2_session *s, int32_t id, uint8_t *to, size_t room, uint32_t *flags,
                         nghttp2_data_source *source, void *user) {
    (void)s, (void)id, (void)source, (void)user, (void)room;
    memcpy(to, body, body_bytes);
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)body_bytes;
}

#define FIELD(n, v) {(uint8_t *)(n), (uint8_t *)(v), sizeof(n) - 1, strlen(v), NGHTTP2_NV_FLAG_NONE}

static void begin(struct connection *connection) {
    struct call *call = calloc(1, sizeof *call);
    call->connection = connection;
    call->begun_s = now_s();
    call->status = -1;
    nghttp2_nv headers[] = {
        FIELD(":method", "POST"), FIELD(":scheme", "http"), FIELD(":path", method_path),
        FIELD(":authority", "127.0.0.1"), FIELD("content-type", "application/grpc"),
        FIELD("te", "trailers"), FIELD("user-agent", "wire-load/1")};
    nghttp2_data_provider source = {.read_callback = read_body};
    if (nghttp2_submit_request(connection->session, NULL, headers, 7, &source, call) < 0)
        die("submit");
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_bytes, const uint8_t *value, size_t value_bytes, uint8_t flags,
                     void *user) {
    (void)value_bytes, (void)flags, (void)user;
    if (name_bytes == 11 && !memcmp(name, "grpc-status", 11)) {
        struct call *call = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
        if (call) call->status = atoi((const char *)value);
    }
    return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data, size_t n,
                   void *user) {
    (void)flags, (void)user;
    struct call *call = nghttp2_session_get_stream_user_data(session, id);
    while (call && n) {
        if (call->left_bytes) {
            size_t take = call->left_bytes < n ? call->left_bytes : n;
            call->left_bytes -= take, data += take, n -= take;
        } else {
            call->prefix[call->prefix_bytes++] = *data++, n--;
            if (call->prefix_bytes < 5) continue;
            uint8_t *p = call->prefix;
            call->left_bytes = (uint32_t)p[1] << 24 | p[2] << 16 | p[3] << 8 | p[4];
            call->prefix_bytes = 0;
        }
        if (!call->left_bytes && !call->prefix_bytes) messages++;
    }
    return 0;
}

static int on_close(nghttp2_session *session, int32_t id, uint32_t error, void *user) {
    (void)user;
    struct call *call = nghttp2_session_get_stream_user_data(session, id);
    if (!call) return 0;
    calls++;
    if (call->status != 0 || error) errors++;
    if (counting && latency_count < LATENCIES_MAX)
        latencies_us[latency_count++] = (uint32_t)((now_s() - call->begun_s) * 1e6);
    struct connection *connection = call->connection;
    free(call);
    if (!stopping) begin(connection);
    return 0;
}

static void want_write(struct connection *connection, int wanted) {
    if (connection->wants_write == wanted) return;
    connection->wants_write = wanted;
    struct epoll_event event = {.events = EPOLLIN | (wanted ? EPOLLOUT : 0), .data.ptr = connection};
    epoll_ctl(epoll_fd, EPOLL_CTL_MOD, connection->socket, &event);
}

/* Write `n` bytes; keep what the socket does not take. */
static int put(struct connection *connection, const uint8_t *bytes, size_t n) {
    while (n) {
        ssize_t done = write(connection->socket, bytes, n);
        if (done < 0 && errno == EAGAIN) {
            uint8_t *rest = malloc(n);
            memcpy(rest, bytes, n);
            free(connection->unsent);
            connection->unsent = rest, connection->unsent_bytes = n;
            want_write(connection, 1);
            return 0;
        }
        if (done < 0) die("write");
        bytes += done, n -= done;
    }
    return 1;
}

static void flush(struct connection *connection) {
    static uint8_t batch[BUFFER_BYTES];
    if (connection->unsent) {
        uint8_t *unsent = connection->unsent;
        connection->unsent = NULL;
        int whole = put(connection, unsent, connection->unsent_bytes);
        free(unsent);
        if (!whole) return;
    }
    for (;;) {
        size_t n = 0;
        while (n < sizeof batch - 32768) {
            const uint8_t *bytes;
            ssize_t got = nghttp2_session_mem_send(connection->session, &bytes);
            if (got <= 0) break;
            memcpy(batch + n, bytes, got);
            n += got;
        }
        if (!n) break;
        if (!put(connection, batch, n)) return;
    }
    want_write(connection, 0);
}

static void open_connection(struct connection *connection, int port,
                            nghttp2_session_callbacks *callbacks) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connection->socket = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(connection->socket, (void *)&address, sizeof address)) die("connect");
    int one = 1;
    setsockopt(connection->socket, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    fcntl(connection->socket, F_SETFL, O_NONBLOCK);
    nghttp2_option *option;
    nghttp2_option_new(&option);
    nghttp2_option_set_peer_max_concurrent_streams(option, 100000);
    nghttp2_session_client_new2(&connection->session, callbacks, connection, option);
    nghttp2_option_del(option);
    nghttp2_settings_entry settings[] = {{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 1 << 20},
                                         {NGHTTP2_SETTINGS_ENABLE_PUSH, 0}};
    nghttp2_submit_settings(connection->session, 0, settings, 2);
    nghttp2_session_set_local_window_size(connection->session, 0, 0, 1 << 28);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, connection->socket, &event);
}

static void turn(int wait_ms) {
    static uint8_t buffer[BUFFER_BYTES];
    struct epoll_event ready[64];
    int n = epoll_wait(epoll_fd, ready, 64, wait_ms);
    for (int i = 0; i < n; i++) {
        struct connection *connection = ready[i].data.ptr;
        if (ready[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
            ssize_t got = read(connection->socket, buffer, sizeof buffer);
            if (got == 0 || (got < 0 && errno != EAGAIN)) die("connection closed");
            if (got > 0 && nghttp2_session_mem_recv(connection->session, buffer, got) < 0)
                die("receive");
        }
        flush(connection);
    }
}

static int ascending(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static uint32_t quantile_us(double q) {
    return latency_count ? latencies_us[(size_t)((latency_count - 1) * q)] : 0;
}

static void parse_body(const char *hex) {
    for (; hex[0] && hex[1] && body_bytes < BODY_MAX; hex += 2) {
        unsigned byte;
        sscanf(hex, "%2x", &byte);
        body[body_bytes++] = (uint8_t)byte;
    }
}

int main(int argc, char **argv) {
    if (argc != 10) return fprintf(stderr, "wire_load: nine arguments, see its head\n"), 2;
    int port = atoi(argv[1]), pid = atoi(argv[2]), streams = atoi(argv[6]), opened = 0;
    double warm_s = atof(argv[7]), count_s = atof(argv[8]), ramp_per_s = atof(argv[9]);
    method_path = argv[3];
    parse_body(argv[4]);
    connection_count = atoi(argv[5]);
    if (connection_count < 1 || connection_count > CONNECTIONS_MAX) return 2;
    signal(SIGPIPE, SIG_IGN);
    latencies_us = malloc(LATENCIES_MAX * sizeof *latencies_us);
    epoll_fd = epoll_create1(0);
    nghttp2_session_callbacks *callbacks;
    nghttp2_session_callbacks_new(&callbacks);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
    for (int i = 0; i < connection_count; i++) open_connection(connections + i, port, callbacks);
    double start_s = now_s(), from_s = 0, server_us = 0, own_us = 0;
    uint64_t messages_0 = 0, calls_0 = 0, errors_0 = 0;
    for (;;) {
        double t = now_s();
        int due = ramp_per_s > 0 ? (int)((t - start_s) * ramp_per_s) + 1 : streams;
        if (due > streams) due = streams;
        if (opened < due) {
            while (opened < due) begin(connections + opened++ % connection_count);
            for (int i = 0; i < connection_count; i++) flush(connections + i);
        }
        if (!counting && t - start_s >= warm_s) {
            counting = 1, from_s = t, messages_0 = messages, calls_0 = calls, errors_0 = errors;
            server_us = process_cpu_us(pid), own_us = own_cpu_us();
        }
        if (counting && t - from_s >= count_s) break;
        turn(opened < streams ? 1 : 20);
    }
    double seconds = now_s() - from_s;
    server_us = process_cpu_us(pid) - server_us, own_us = own_cpu_us() - own_us;
    stopping = 1;
    qsort(latencies_us, latency_count, sizeof *latencies_us, ascending);
    printf("{\"messages\": %lu, \"calls\": %lu, \"errors\": %lu, \"seconds\": %.3f, "
           "\"server_cpu_us\": %.0f, \"own_cpu_us\": %.0f, \"p50_us\": %u, \"p99_us\": %u}\n",
           messages - messages_0, calls - calls_0, errors - errors_0, seconds, server_us, own_us,
           quantile_us(0.5), quantile_us(0.99));
    return 0;
}
