/* Load on a Router: governed calls over cleartext HTTP/2 from one thread, cheaper than the Router.
 *
 * Streams: for each of `streams` (such as 100,1000) opens calls until so many are open, no faster
 * than the Router answers them; waits until all have a token, then `warm_s`; counts `windows` times
 * `count_s`; with `probe_per_s` counts once more while short calls begin at that rate, and only their
 * time to first token is told; a level that the Router cannot hold is the last. A call that ends is
 * begun anew. With `even=1` the first calls have
 * random lengths, so that calls begin and end evenly.
 * With `rate` (calls a second) calls begin by the clock instead, ended or not, at most `streams` at a
 * time; times count from the moment that a call was due.
 *
 * A window prints one JSON line: what came, what failed by grpc-status, CPU of the processes `pids`,
 * times in ms: delay (from the stamp in a token to here), ttft (from call to first token), gap
 * (between two tokens of a call), latency (of a whole call).
 *
 * A client can be bad: `mode=deaf` reads nothing, `mode=vanish` cuts its connections every
 * `vanish_ms` and comes again.
 *
 * usage: load name=value…     names: see settings.h; `body` is a file with one request
 *        message, in which `#n=……;p=……` (six digits each) is replaced by tokens and pace
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <nghttp2/nghttp2.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

#include "clock.h"
#include "cpu.h"
#include "histogram.h"
#include "settings.h"

enum {
    BODY_MAX = 1 << 16,
    HEAD_MAX = 4096, /* bytes of a message that are searched for stamps */
    PIDS_MAX = 32,
    STATUSES = 18, /* of gRPC, and one for none at all */
    BUFFER_BYTES = 1 << 18,
    PENDING_MAX = 16, /* calls without a token that a ramp is ahead by */
    PROBE_TOKENS = 10,
    STREAMS_MAX = 1000000
};
enum mode { READ, DEAF, VANISH };
enum phase { RAMP, WARM, COUNT, PROBE };

struct call {
    struct connection *connection;
    struct call *older, **in_list;
    uint64_t begun_ns, last_ns;
    uint32_t left_bytes, prefix_bytes, head_bytes, tokens;
    int status, probe;
    uint8_t prefix[5], *head, *body;
};

struct connection {
    int socket, wants_write;
    uint64_t opened_ns;
    nghttp2_session *session;
    uint8_t *unsent;
    size_t unsent_bytes;
    struct call *calls;
};

/* What one window saw. */
static struct {
    uint64_t tokens, messages, begun, ended, unsent, reopened, statuses[STATUSES];
    struct histogram delay, ttft, gap, latency;
} seen;

static struct connection *connections;
static int epoll_fd, pids[PIDS_MAX], pid_count;
static enum mode mode;
static enum phase phase;
static uint64_t phase_ns;           /* when it began */
static long streams;                /* of this level */
static long open_calls, pending;    /* pending: no token has come yet */
static uint64_t next_connection, by_clock; /* calls that were begun by the clock in this phase */
static uint8_t message[BODY_MAX];
static size_t message_bytes, knobs_at;
static char authorization[256];
static nghttp2_session_callbacks *callbacks;

static void die(const char *what) {
    perror(what);
    exit(1);
}

/* -- Calls -- */

static ssize_t read_body(nghttp2_session *session, int32_t id, uint8_t *to, size_t room,
                         uint32_t *flags, nghttp2_data_source *source, void *user) {
    (void)session, (void)id, (void)user;
    struct call *call = source->ptr;
    size_t n = call->head_bytes < room ? call->head_bytes : room; /* what is left to send */
    memcpy(to, call->body, n);
    memmove(call->body, call->body + n, call->head_bytes - n);
    call->head_bytes -= (uint32_t)n;
    if (!call->head_bytes) *flags |= NGHTTP2_DATA_FLAG_EOF, free(call->body), call->body = NULL;
    return (ssize_t)n;
}

static void write_message(struct call *call, long tokens) {
    size_t n = message_bytes;
    call->body = malloc(n + 5);
    uint8_t prefix[5] = {0, (uint8_t)(n >> 24), (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n};
    memcpy(call->body, prefix, 5);
    memcpy(call->body + 5, message, n);
    char knobs[32];
    int bytes = snprintf(knobs, sizeof knobs, "#n=%06ld;p=%06ld", tokens, set.pace_us);
    memcpy(call->body + 5 + knobs_at, knobs, (size_t)bytes);
    call->head_bytes = (uint32_t)n + 5;
}

#define FIELD(n, v) {(uint8_t *)(n), (uint8_t *)(v), sizeof(n) - 1, strlen(v), NGHTTP2_NV_FLAG_NONE}

static void begin(struct connection *connection, long tokens, uint64_t due_ns, int probe) {
    struct call *call = calloc(1, sizeof *call);
    call->connection = connection, call->begun_ns = due_ns, call->status = -1, call->probe = probe;
    write_message(call, tokens);
    call->older = connection->calls, call->in_list = &connection->calls;
    if (call->older) call->older->in_list = &call->older;
    connection->calls = call;
    open_calls += !probe, pending++, seen.begun++;
    nghttp2_nv headers[] = {
        FIELD(":method", "POST"), FIELD(":scheme", "http"), FIELD(":path", set.path),
        FIELD(":authority", "127.0.0.1"), FIELD("content-type", "application/grpc"),
        FIELD("te", "trailers"), FIELD("user-agent", "load/1"), FIELD("grpc-timeout", "600S"),
        FIELD("authorization", authorization)};
    nghttp2_data_provider source = {.source.ptr = call, .read_callback = read_body};
    if (nghttp2_submit_request(connection->session, NULL, headers, 9, &source, call) < 0)
        fprintf(stderr, "load: no more streams on a connection\n"), exit(1);
}

static void forget(struct call *call) {
    *call->in_list = call->older;
    if (call->older) call->older->in_list = call->in_list;
    open_calls -= !call->probe, pending -= !call->last_ns;
    free(call->body), free(call->head), free(call);
}

/* Begin anew what ended; who vanishes waits for that instead of asking again at once. */
static void again(struct connection *connection) {
    if (mode != VANISH && set.rate <= 0 && open_calls < streams) begin(connection, set.tokens, now_ns(), 0);
}

static void on_token(struct call *call, uint64_t sent_ns, uint64_t now) {
    seen.tokens++;
    if (now > sent_ns) histogram_add(&seen.delay, now - sent_ns);
    if (call->last_ns) histogram_add(&seen.gap, now - call->last_ns);
    else if (pending--, phase != PROBE || call->probe)
        histogram_add(&seen.ttft, now - call->begun_ns);
    call->last_ns = now, call->tokens++;
}

static void on_message(struct call *call, const uint8_t *bytes, size_t n, uint64_t now) {
    seen.messages++;
    const uint8_t *at = bytes;
    for (uint64_t sent_ns; (sent_ns = next_stamp(&at, (size_t)(bytes + n - at)));)
        on_token(call, sent_ns, now);
}

/* Bytes of a message that is not whole yet are kept, up to HEAD_MAX. */
static void keep(struct call *call, const uint8_t *bytes, size_t n) {
    if (!call->head) call->head = malloc(HEAD_MAX);
    size_t take = HEAD_MAX - call->head_bytes < n ? HEAD_MAX - call->head_bytes : n;
    memcpy(call->head + call->head_bytes, bytes, take);
    call->head_bytes += (uint32_t)take;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data, size_t n,
                   void *user) {
    (void)flags, (void)user;
    struct call *call = nghttp2_session_get_stream_user_data(session, id);
    uint64_t now = now_ns();
    while (call && n) {
        if (call->prefix_bytes < 5) {
            call->prefix[call->prefix_bytes++] = *data++, n--;
            if (call->prefix_bytes < 5) continue;
            uint8_t *p = call->prefix;
            call->left_bytes = (uint32_t)p[1] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 8 | p[4];
            call->head_bytes = 0;
        }
        size_t take = call->left_bytes < n ? call->left_bytes : n;
        int whole = take == call->left_bytes;
        if (whole && !call->head_bytes) on_message(call, data, take, now);
        else keep(call, data, take);
        if (whole && call->head_bytes) on_message(call, call->head, call->head_bytes, now);
        call->left_bytes -= (uint32_t)take, data += take, n -= take;
        if (whole) call->prefix_bytes = 0, call->head_bytes = 0;
    }
    return 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_bytes, const uint8_t *value, size_t value_bytes, uint8_t flags,
                     void *user) {
    static int told;
    (void)flags, (void)user;
    if (name_bytes == 11 && !memcmp(name, "grpc-status", 11)) {
        struct call *call = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
        if (call) call->status = atoi((const char *)value);
    }
    if (mode == READ && name_bytes == 12 && !memcmp(name, "grpc-message", 12) && value_bytes && told++ < 3)
        fprintf(stderr, "load: a call failed: %.*s\n", (int)value_bytes, (const char *)value);
    return 0;
}

/* Count how a call ended; 17: without a grpc-status. OK without a token is no answer. */
static void count_end(struct call *call, uint32_t error) {
    int status = call->status < 0 || call->status > 16 || error ? STATUSES - 1 : call->status;
    if (status == 0 && !call->tokens) status = STATUSES - 1;
    seen.ended++, seen.statuses[status]++;
    if (status == 0) histogram_add(&seen.latency, now_ns() - call->begun_ns);
}

static int on_close(nghttp2_session *session, int32_t id, uint32_t error, void *user) {
    struct call *call = nghttp2_session_get_stream_user_data(session, id);
    if (!call) return 0;
    count_end(call, error);
    forget(call);
    again(user);
    return 0;
}

/* -- Connections -- */

static void want_write(struct connection *connection, int wanted) {
    if (connection->wants_write == wanted) return;
    connection->wants_write = wanted;
    struct epoll_event event = {.data.ptr = connection};
    event.events = (mode == DEAF ? 0 : EPOLLIN) | (wanted ? EPOLLOUT : 0);
    epoll_ctl(epoll_fd, EPOLL_CTL_MOD, connection->socket, &event);
}

static void open_connection(struct connection *connection) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)set.port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int one = 1, small = 4096;
    *connection = (struct connection){.socket = socket(AF_INET, SOCK_STREAM, 0)};
    if (mode == DEAF)
        setsockopt(connection->socket, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    if (connect(connection->socket, (void *)&address, sizeof address)) die("connect");
    setsockopt(connection->socket, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    fcntl(connection->socket, F_SETFL, O_NONBLOCK);
    connection->opened_ns = now_ns();
    nghttp2_option *option;
    nghttp2_option_new(&option);
    nghttp2_option_set_peer_max_concurrent_streams(option, 100000);
    nghttp2_session_client_new2(&connection->session, callbacks, connection, option);
    nghttp2_option_del(option);
    nghttp2_settings_entry entries[] = {{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 1 << 20},
                                        {NGHTTP2_SETTINGS_ENABLE_PUSH, 0}};
    nghttp2_submit_settings(connection->session, 0, entries, 2);
    nghttp2_session_set_local_window_size(connection->session, 0, 0, 1 << 28);
    struct epoll_event event = {.events = mode == DEAF ? 0 : EPOLLIN, .data.ptr = connection};
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, connection->socket, &event);
}

static int flush(struct connection *connection);

/* Close with a reset and come again with as many calls; of a good client each was an error. */
static void reopen(struct connection *connection) {
    struct linger now = {.l_onoff = 1};
    setsockopt(connection->socket, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close(connection->socket);
    nghttp2_session_del(connection->session);
    free(connection->unsent);
    long calls = 0;
    for (; connection->calls; calls++) {
        if (mode == READ) count_end(connection->calls, 1);
        forget(connection->calls);
    }
    seen.reopened++;
    open_connection(connection);
    if (mode == VANISH)
        for (calls = streams / set.connections; calls--;)
            begin(connection, set.tokens, now_ns(), 0);
    else
        while (calls-- > 0) again(connection);
    flush(connection);
}

/* Write `n` bytes and keep what the socket does not take; 1: all, 0: some, -1: it is gone. */
static int put(struct connection *connection, const uint8_t *bytes, size_t n) {
    while (n) {
        ssize_t done = write(connection->socket, bytes, n);
        if (done < 0 && errno != EAGAIN) return -1;
        if (done < 0) {
            uint8_t *rest = malloc(n);
            memcpy(rest, bytes, n);
            free(connection->unsent);
            connection->unsent = rest, connection->unsent_bytes = n;
            return want_write(connection, 1), 0;
        }
        bytes += done, n -= (size_t)done;
    }
    return 1;
}

static int flush(struct connection *connection) {
    static uint8_t batch[BUFFER_BYTES];
    if (connection->unsent) {
        uint8_t *unsent = connection->unsent;
        connection->unsent = NULL;
        int done = put(connection, unsent, connection->unsent_bytes);
        free(unsent);
        if (done < 1) return done;
    }
    for (;;) {
        size_t n = 0;
        while (n < sizeof batch - 32768) {
            const uint8_t *bytes;
            ssize_t got = nghttp2_session_mem_send(connection->session, &bytes);
            if (got < 0) return -1;
            if (got == 0) break;
            memcpy(batch + n, bytes, (size_t)got);
            n += (size_t)got;
        }
        if (!n) break;
        int done = put(connection, batch, n);
        if (done < 1) return done;
    }
    want_write(connection, 0);
    return nghttp2_session_want_read(connection->session) ? 1 : -1;
}

static void serve(struct connection *connection, uint32_t events) {
    static uint8_t bytes[BUFFER_BYTES];
    if (events & ~(uint32_t)EPOLLOUT) {
        ssize_t n = mode == DEAF ? 0 : read(connection->socket, bytes, sizeof bytes);
        if (n == 0 || (n < 0 && errno != EAGAIN)) return reopen(connection);
        if (n > 0 && nghttp2_session_mem_recv(connection->session, bytes, (size_t)n) < 0)
            return reopen(connection);
    }
    if (flush(connection) < 0) reopen(connection);
}

/* -- The run -- */

static struct connection *any(void) {
    return connections + next_connection++ % (uint64_t)set.connections;
}

/* Begin what is due by the clock: calls of a rate, or probes. */
static int begin_by_clock(uint64_t now, double per_s) {
    uint64_t due = (uint64_t)((double)(now - phase_ns) / 1e9 * per_s) + 1;
    int begun = 0;
    for (; by_clock < due; by_clock++, begun++) {
        uint64_t due_ns = phase_ns + (uint64_t)((double)by_clock / per_s * 1e9);
        if (phase == PROBE) begin(any(), PROBE_TOKENS, due_ns, 1);
        else if (open_calls < streams) begin(any(), set.tokens, due_ns, 0);
        else seen.unsent++;
    }
    return begun;
}

static void begin_due(uint64_t now) {
    int begun = 0;
    if (set.rate > 0) begun = begin_by_clock(now, set.rate);
    else if (phase == PROBE) begun = begin_by_clock(now, set.probe_per_s);
    long pending_max = mode == READ ? PENDING_MAX : STREAMS_MAX;
    int tops_up = set.rate <= 0 && (mode != VANISH || phase == RAMP);
    while (tops_up && open_calls < streams && pending < pending_max && ++begun)
        begin(any(), set.even ? 1 + random() % set.tokens : set.tokens, now, 0);
    for (long i = 0; begun && i < set.connections; i++) flush(connections + i);
}

static void vanish(uint64_t now) {
    for (long i = 0; i < set.connections; i++)
        if (now - connections[i].opened_ns > (uint64_t)set.vanish_ms * 1000000)
            reopen(connections + i);
}

static void print_window(double seconds, const double *cpu_us, double own_us,
                         double busy_us) {
    printf("{\"streams\": %ld, \"probing\": %d, \"pending\": %ld, \"seconds\": %.4f, \"tokens\": %lu, \"messages\": %lu, \"begun\": %lu, \"ended\": %lu, "
           "\"unsent\": %lu, \"open\": %ld, \"reopened\": %lu, \"own_cpu_us\": %.0f, \"busy_us\": %.0f, "
           "\"statuses\": {",
           streams, phase == PROBE, pending, seconds, seen.tokens, seen.messages, seen.begun, seen.ended, seen.unsent, open_calls,
           seen.reopened, own_us, busy_us);
    const char *comma = "";
    for (int i = 0; i < STATUSES; i++)
        if (seen.statuses[i]) printf("%s\"%d\": %lu", comma, i, seen.statuses[i]), comma = ", ";
    printf("}, \"cpu_us\": {");
    for (int i = 0; i < pid_count; i++)
        printf("%s\"%d\": %.0f", i ? ", " : "", pids[i], cpu_us[i]);
    printf("}, ");
    histogram_print(&seen.delay, "delay_ms"), printf(", ");
    histogram_print(&seen.ttft, "ttft_ms"), printf(", ");
    histogram_print(&seen.gap, "gap_ms"), printf(", ");
    histogram_print(&seen.latency, "latency_ms"), printf("}\n");
    fflush(stdout);
}

/* A call that has waited for a second and has no token yet belongs to the tail as well. */
static void count_waiting(uint64_t now) {
    for (long i = 0; i < set.connections; i++)
        for (struct call *call = connections[i].calls; call; call = call->older)
            if (!call->last_ns && now - call->begun_ns > 1000000000u &&
                (phase != PROBE || call->probe))
                histogram_add(&seen.ttft, now - call->begun_ns);
}

static void turn(void) {
    struct epoll_event ready[256];
    int n = epoll_wait(epoll_fd, ready, 256, 1);
    for (int i = 0; i < n; i++) serve(ready[i].data.ptr, ready[i].events);
}

/* What to do next; `counted` windows of this level are done. */
static enum phase after(enum phase now_phase, long counted) {
    switch (now_phase) {
    case RAMP: return WARM;
    case WARM: return COUNT;
    case COUNT: return counted < set.windows ? COUNT : set.probe_per_s > 0 ? PROBE : RAMP;
    default: return RAMP;
    }
}

/* A ramp is over when every call has a token, or after `settle_s`, or at once where none are kept. */
static int is_over(uint64_t now) {
    double lasted_s = (double)(now - phase_ns) / 1e9;
    if (phase == RAMP)
        return set.rate > 0 || mode != READ || lasted_s > set.settle_s ||
               (open_calls >= streams && !pending);
    return lasted_s >= (phase == WARM ? set.warm_s : set.count_s);
}

/* Whether a window had far fewer tokens than its streams are sent: more streams would say nothing. */
static int is_saturated(double seconds) {
    return set.rate <= 0 && set.pace_us &&
           (double)seen.tokens < 0.7 * seconds * (double)streams * 1e6 / (double)set.pace_us;
}

/* Hold `streams` calls through all phases: one level. Returns whether there is room for more. */
static int run_level(void) {
    double cpu_us[PIDS_MAX] = {0}, own_us = 0, busy_us = 0;
    long counted = 0;
    int room = 1;
    phase = RAMP, phase_ns = now_ns(), by_clock = 0;
    for (;;) {
        uint64_t now = now_ns();
        begin_due(now);
        if (mode == VANISH) vanish(now);
        if (is_over(now)) {
            double own_now_us = own_cpu_us();
            busy_us = machine_cpu_us() - busy_us;
            for (int i = 0; i < pid_count; i++) cpu_us[i] = process_cpu_us(pids[i]) - cpu_us[i];
            if (phase == RAMP && set.rate <= 0 && mode == READ)
                room = open_calls >= streams && !pending;
            if (phase >= COUNT) {
                double seconds = (double)(now - phase_ns) / 1e9;
                count_waiting(now), counted++;
                room = room && (phase == PROBE || !is_saturated(seconds));
                print_window(seconds, cpu_us, own_now_us - own_us, busy_us);
            }
            for (int i = 0; i < pid_count; i++) cpu_us[i] = process_cpu_us(pids[i]);
            busy_us = machine_cpu_us();
            memset(&seen, 0, sizeof seen);
            phase = after(phase, counted), phase_ns = now, by_clock = 0, own_us = own_now_us;
            if (phase == RAMP) return room;
        }
        turn();
    }
}

static void prepare(void) {
    mode = !strcmp(set.mode, "deaf") ? DEAF : !strcmp(set.mode, "vanish") ? VANISH : READ;
    FILE *file = fopen(set.body, "r");
    if (!file) die(set.body);
    message_bytes = fread(message, 1, sizeof message, file);
    fclose(file);
    uint8_t *at = memmem(message, message_bytes, "#n=", 3);
    if (!at) fprintf(stderr, "load: no `#n=` in the body\n"), exit(2);
    knobs_at = (size_t)(at - message);
    snprintf(authorization, sizeof authorization, "Bearer %s", set.key);
    for (const char *pid = set.pids; *pid && pid_count < PIDS_MAX; pid++) {
        pids[pid_count++] = (int)strtol(pid, (char **)&pid, 10);
        if (!*pid) break;
    }
}

int main(int argc, char **argv) {
    parse_settings(argc, argv);
    prepare();
    signal(SIGPIPE, SIG_IGN);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max, setrlimit(RLIMIT_NOFILE, &files);
    epoll_fd = epoll_create1(0);
    nghttp2_session_callbacks_new(&callbacks);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
    connections = calloc((size_t)set.connections, sizeof *connections);
    for (long i = 0; i < set.connections; i++) open_connection(connections + i);
    for (const char *level = set.streams; level; level = strchr(level, ',')) {
        if (*level == ',') level++;
        streams = atol(level);
        if (!run_level()) break;
    }
    return 0;
}
