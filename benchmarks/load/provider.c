/* A provider for the load suite: chat.completions as server-sent events, cheaper a token than a Router.
 *
 * Speaks HTTP/1.1 with keep-alive and, to a client that begins with HTTP/2's preface, h2c. Each token
 * carries the time at which it was sent. One thread; paced answers hang on a wheel of 1 ms slots.
 *
 * What it shall do stands in the prompt, so that it survives any gateway:
 * `#n=000100;p=050000;f=none#`: tokens, microseconds between two (0: as fast as they are read), and
 * what goes wrong at half of the tokens: cut, stall, flood, invalid, error, goaway; refuse at once.
 *
 * usage: provider PORT      (0: any; prints the port)
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <nghttp2/nghttp2.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "buffer.h"
#include "clock.h"

enum {
    SLOTS = 8192,              /* of 1 ms: the longest pace */
    REQUEST_BYTES_MAX = 1 << 20,
    BURST_BYTES = 1 << 16,     /* an unpaced answer is made this far ahead of its reader */
    UNREAD_BYTES_MAX = 1 << 20, /* a paced one waits here for a reader that does not read */
    FLOOD_BYTES = 100 << 20,
    READ_BYTES = 1 << 18
};

enum fault { NONE, CUT, STALL, FLOOD, INVALID, ERROR, GOAWAY, REFUSE };
static const char *const FAULTS[] = {"none",    "cut",   "stall",  "flood",
                                     "invalid", "error", "goaway", "refuse"};

struct answer {
    struct link *link; /* NULL once its client is gone */
    int32_t stream_id; /* of HTTP/2 */
    enum fault fault;
    uint32_t left, tokens;
    size_t flood_left;
    uint64_t pace_ns, due_ns;
    int ended, on_wheel;
    struct buffer request, out;
    struct answer *next;             /* in the same slot of the wheel */
    struct answer *older, **in_list; /* of its link */
};

struct link {
    int socket, wants_write, closing, listed;
    nghttp2_session *session; /* NULL: HTTP/1.1 */
    struct buffer in, out;
    struct answer *answers;   /* all that it carries; HTTP/1.1: one at the most */
    struct link *next;        /* in the list of those to write to */
};

static struct answer *wheel[SLOTS];
static uint64_t wheel_ms, paced;
static struct link *to_write;
static int epoll_fd;
static nghttp2_session_callbacks *callbacks;

#define CHUNK                                                                               \
    "data: {\"id\":\"chatcmpl-A1b2C3d4E5f6\",\"object\":\"chat.completion.chunk\","         \
    "\"created\":1763800000,\"model\":\"gpt-4o-mini-2024-07-18\",\"service_tier\":"         \
    "\"default\",\"system_fingerprint\":\"fp_0123456789\","
static const char TOKEN[] = CHUNK "\"choices\":[{\"index\":0,\"delta\":{\"content\":"
                                  "\"@0000000000000000 word\"},\"logprobs\":null,"
                                  "\"finish_reason\":null}],\"usage\":null}\n\n";
static const char LAST[] = CHUNK "\"choices\":[{\"index\":0,\"delta\":{},\"logprobs\":null,"
                                 "\"finish_reason\":\"stop\"}],\"usage\":null}\n\n" CHUNK
                                 "\"choices\":[],\"usage\":{\"prompt_tokens\":200,"
                                 "\"completion_tokens\":%u,\"total_tokens\":%u}}\n\n"
                                 "data: [DONE]\n\n";
static const char INVALID_EVENT[] = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\xff\xfe\"}}]}\n\n";
static const char ERROR_EVENT[] = "data: {\"error\":{\"message\":\"the mock gives up\",\"type\":\"server_error\"}}\n\n";
static const char REFUSAL[] = "{\"error\":{\"message\":\"the mock is full\",\"type\":\"server_error\"}}";
static const char OK_HEAD[] = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
                              "transfer-encoding: chunked\r\ncache-control: no-cache\r\n\r\n";

static void die(const char *what) {
    perror(what);
    exit(1);
}

/* Append a piece of the body: as it is in HTTP/2, as a chunk in HTTP/1.1. */
static void body(struct answer *answer, const void *bytes, size_t n) {
    char size[24];
    int chunked = !answer->link->session;
    if (chunked) append(&answer->out, size, (size_t)snprintf(size, sizeof size, "%zx\r\n", n));
    append(&answer->out, bytes, n);
    if (chunked) append(&answer->out, "\r\n", 2);
}

static void end_body(struct answer *answer) {
    if (!answer->link->session) append(&answer->out, "0\r\n\r\n", 5);
    answer->ended = 1;
}

static void put_token(struct answer *answer) {
    static size_t at;
    if (!at) at = (size_t)(strchr(TOKEN, '@') - TOKEN) + 1;
    char event[sizeof TOKEN];
    memcpy(event, TOKEN, sizeof TOKEN);
    write_digits((uint8_t *)event + at, now_ns());
    body(answer, event, sizeof TOKEN - 1);
    answer->left--;
}

static void put_last(struct answer *answer) {
    char events[sizeof LAST + 32];
    int n = snprintf(events, sizeof events, LAST, answer->tokens, 200 + answer->tokens);
    body(answer, events, (size_t)n);
    end_body(answer);
}

/* What goes wrong at half of the tokens; a stalled answer just has nothing more to say. */
static void put_fault(struct answer *answer) {
    struct link *link = answer->link;
    switch (answer->fault) {
    case STALL: body(answer, TOKEN, sizeof TOKEN / 2); break;
    case INVALID: body(answer, INVALID_EVENT, sizeof INVALID_EVENT - 1); break;
    case ERROR: body(answer, ERROR_EVENT, sizeof ERROR_EVENT - 1), end_body(answer); break;
    case FLOOD: answer->flood_left = FLOOD_BYTES, answer->pace_ns = 0; break;
    case GOAWAY:
        if (link->session) nghttp2_session_terminate_session(link->session, NGHTTP2_NO_ERROR);
        else link->closing = 1;
        break;
    default:
        if (link->session)
            nghttp2_submit_rst_stream(link->session, 0, answer->stream_id, NGHTTP2_INTERNAL_ERROR);
        else link->closing = 1;
    }
    if (answer->fault != INVALID) answer->left = 0;
}

static int at_fault(const struct answer *answer) {
    return answer->fault != NONE && answer->left == answer->tokens / 2;
}

/* Make what is due: one token of a paced answer, or as much as a reader may be ahead of. */
static void produce(struct answer *answer) {
    static uint8_t filler[BURST_BYTES];
    if (answer->ended) return;
    do {
        if (answer->flood_left) {
            if (!filler[0]) memset(filler, 'x', sizeof filler);
            body(answer, filler, sizeof filler);
            answer->flood_left -= sizeof filler;
            if (answer->flood_left < sizeof filler) end_body(answer);
        } else if (answer->left && at_fault(answer)) {
            put_fault(answer);
            if (answer->fault == INVALID) answer->fault = NONE;
        } else if (answer->left) {
            put_token(answer);
            if (!answer->left) put_last(answer);
        } else return; /* stalled or cut */
    } while (!answer->ended && !answer->pace_ns && held(&answer->out) < BURST_BYTES);
}

static void hang(struct answer *answer) {
    uint64_t slot = answer->due_ns / 1000000;
    if (slot <= wheel_ms) slot = wheel_ms + 1;
    if (slot >= wheel_ms + SLOTS) slot = wheel_ms + SLOTS - 1;
    answer->next = wheel[slot % SLOTS];
    wheel[slot % SLOTS] = answer;
    answer->on_wheel = 1;
    paced++;
}

static struct answer *new_answer(struct link *link, int32_t stream_id) {
    struct answer *answer = calloc(1, sizeof *answer);
    if (!answer) die("memory");
    answer->link = link, answer->stream_id = stream_id;
    answer->older = link->answers, answer->in_list = &link->answers;
    if (answer->older) answer->older->in_list = &answer->older;
    return link->answers = answer;
}

static void drop(struct answer *answer) {
    if (answer->link) {
        *answer->in_list = answer->older;
        if (answer->older) answer->older->in_list = answer->in_list;
    }
    answer->link = NULL;
    if (answer->on_wheel) return; /* its slot frees it */
    free(answer->request.bytes);
    free(answer->out.bytes);
    free(answer);
}

static void write_later(struct link *link) {
    if (link->listed) return;
    link->listed = 1, link->next = to_write, to_write = link;
}

static uint32_t knob(const char *text, const char *name, uint32_t otherwise) {
    const char *at = strstr(text, name);
    return at ? (uint32_t)strtoul(at + strlen(name), NULL, 10) : otherwise;
}

/* Read the knobs of a request's body, which ends with a zero byte, and begin. */
static void begin(struct answer *answer, const char *text) {
    answer->tokens = answer->left = knob(text, "#n=", 100);
    if (!answer->tokens) answer->tokens = answer->left = 1;
    answer->pace_ns = (uint64_t)knob(text, ";p=", 50000) * 1000;
    const char *fault = strstr(text, ";f=");
    for (size_t i = 1; fault && i < sizeof FAULTS / sizeof *FAULTS; i++)
        if (!strncmp(fault + 3, FAULTS[i], strlen(FAULTS[i]))) answer->fault = (enum fault)i;
}

/* The first token, and a place on the wheel for the others. */
static void answer_ok(struct answer *answer) {
    answer->due_ns = now_ns() + answer->pace_ns;
    produce(answer);
    if (answer->pace_ns && !answer->ended) hang(answer);
}

static void close_link(struct link *link) {
    if (link->socket < 0) return;
    while (link->answers) drop(link->answers);
    if (link->session) nghttp2_session_del(link->session);
    close(link->socket);
    link->socket = -1;
    link->session = NULL;
    write_later(link); /* which frees it, after whoever still holds it */
}

/* -- HTTP/1.1 -- */

static const char *header(const char *head, const char *name) {
    const char *at = strcasestr(head, name);
    return at ? at + strlen(name) : NULL;
}

static void answer_http1(struct link *link, char *text) {
    struct answer *answer = new_answer(link, 0);
    begin(answer, text);
    char head[256];
    if (answer->fault == REFUSE || strncmp((char *)link->in.bytes, "POST", 4)) {
        int n = snprintf(head, sizeof head,
                         "HTTP/1.1 %s\r\ncontent-type: application/json\r\n"
                         "content-length: %zu\r\n\r\n",
                         answer->fault == REFUSE ? "503 Busy" : "404 Unknown", sizeof REFUSAL - 1);
        append(&answer->out, head, (size_t)n);
        append(&answer->out, REFUSAL, sizeof REFUSAL - 1);
        answer->ended = 1;
    } else {
        append(&answer->out, OK_HEAD, sizeof OK_HEAD - 1);
        answer_ok(answer);
    }
    write_later(link);
}

static void read_http1(struct link *link) {
    struct buffer *in = &link->in;
    if (link->answers || !held(in)) return;
    append(in, "", 1), in->end--; /* a zero byte for strstr */
    char *head = (char *)in->bytes + in->begin, *end = strstr(head, "\r\n\r\n");
    if (!end) return;
    *end = 0;
    const char *length = header(head, "\ncontent-length:");
    size_t body_bytes = length ? strtoul(length, NULL, 10) : 0;
    *end = '\r';
    size_t whole = (size_t)(end + 4 - head) + body_bytes;
    if (body_bytes > REQUEST_BYTES_MAX) link->closing = 1;
    if (held(in) < whole || link->closing) return;
    uint8_t behind = in->bytes[in->begin + whole];
    in->bytes[in->begin + whole] = 0;
    answer_http1(link, end + 4);
    in->bytes[in->begin + whole] = behind;
    in->begin += whole;
}

/* -- HTTP/2 -- */

static ssize_t read_body(nghttp2_session *session, int32_t id, uint8_t *to, size_t room,
                         uint32_t *flags, nghttp2_data_source *source, void *user) {
    (void)session, (void)id, (void)user;
    struct answer *answer = source->ptr;
    if (!held(&answer->out) && !answer->pace_ns) produce(answer);
    size_t n = held(&answer->out) < room ? held(&answer->out) : room;
    memcpy(to, answer->out.bytes + answer->out.begin, n);
    answer->out.begin += n;
    if (answer->ended && !held(&answer->out)) *flags |= NGHTTP2_DATA_FLAG_EOF;
    else if (!n) return NGHTTP2_ERR_DEFERRED;
    return (ssize_t)n;
}

static int on_begin(nghttp2_session *session, const nghttp2_frame *frame, void *user) {
    if (frame->hd.type != NGHTTP2_HEADERS) return 0;
    struct answer *answer = new_answer(user, frame->hd.stream_id);
    return nghttp2_session_set_stream_user_data(session, frame->hd.stream_id, answer);
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data, size_t n,
                   void *user) {
    (void)flags, (void)user;
    struct answer *answer = nghttp2_session_get_stream_user_data(session, id);
    if (answer && held(&answer->request) + n <= REQUEST_BYTES_MAX) append(&answer->request, data, n);
    return 0;
}

#define FIELD(n, v) {(uint8_t *)(n), (uint8_t *)(v), sizeof(n) - 1, sizeof(v) - 1, 0}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user) {
    (void)user;
    if (!(frame->hd.flags & NGHTTP2_FLAG_END_STREAM)) return 0;
    if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA) return 0;
    struct answer *answer = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (!answer) return 0;
    append(&answer->request, "", 1);
    begin(answer, (char *)answer->request.bytes);
    nghttp2_nv ok[] = {FIELD(":status", "200"), FIELD("content-type", "text/event-stream")};
    nghttp2_nv refused[] = {FIELD(":status", "503"), FIELD("content-type", "application/json")};
    if (answer->fault == REFUSE) {
        append(&answer->out, REFUSAL, sizeof REFUSAL - 1);
        answer->ended = 1;
    } else answer_ok(answer);
    nghttp2_data_provider source = {.source.ptr = answer, .read_callback = read_body};
    nghttp2_nv *fields = answer->fault == REFUSE ? refused : ok;
    return nghttp2_submit_response(session, frame->hd.stream_id, fields, 2, &source);
}

static int on_close(nghttp2_session *session, int32_t id, uint32_t error, void *user) {
    (void)error, (void)user;
    struct answer *answer = nghttp2_session_get_stream_user_data(session, id);
    if (answer) drop(answer);
    return 0;
}

static void speak_http2(struct link *link) {
    nghttp2_session_server_new(&link->session, callbacks, link);
    nghttp2_settings_entry settings[] = {{NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 10000}};
    nghttp2_submit_settings(link->session, 0, settings, 1);
    nghttp2_session_set_local_window_size(link->session, 0, 0, 1 << 24);
}

/* -- Sockets -- */

static void want_write(struct link *link, int wanted) {
    if (link->wants_write == wanted) return;
    link->wants_write = wanted;
    struct epoll_event event = {.events = EPOLLIN | (wanted ? EPOLLOUT : 0), .data.ptr = link};
    epoll_ctl(epoll_fd, EPOLL_CTL_MOD, link->socket, &event);
}

/* Write what `b` holds; 1: all of it, 0: the socket is full, -1: the client is gone. */
static int put(struct link *link, struct buffer *b) {
    while (held(b)) {
        ssize_t n = write(link->socket, b->bytes + b->begin, held(b));
        if (n < 0) return want_write(link, 1), errno == EAGAIN ? 0 : -1;
        b->begin += (size_t)n;
    }
    want_write(link, 0);
    return 1;
}

static int put_http1(struct link *link) {
    for (;;) {
        struct answer *answer = link->answers;
        if (!answer) return 1;
        int done = put(link, &answer->out);
        if (done < 1) return done;
        if (!answer->ended) {
            if (answer->pace_ns || link->closing) return 1;
            produce(answer);
            if (!held(&answer->out)) return 1;
            continue;
        }
        drop(answer);
        read_http1(link);
    }
}

static int put_http2(struct link *link) {
    for (;;) {
        int done = put(link, &link->out);
        if (done < 1) return done;
        const uint8_t *bytes;
        ssize_t n = 0;
        while (held(&link->out) < BURST_BYTES &&
               (n = nghttp2_session_mem_send(link->session, &bytes)) > 0)
            append(&link->out, bytes, (size_t)n);
        if (n < 0) return -1;
        if (!held(&link->out)) break;
    }
    int over = !nghttp2_session_want_read(link->session) && !nghttp2_session_want_write(link->session);
    return over ? -1 : 1;
}

static void write_all(void) {
    while (to_write) {
        struct link *link = to_write;
        to_write = link->next, link->listed = 0;
        if (link->socket < 0) {
            free(link->in.bytes), free(link->out.bytes), free(link);
            continue;
        }
        int done = link->session ? put_http2(link) : put_http1(link);
        if (done < 0 || (done && link->closing)) close_link(link);
    }
}

static void receive(struct link *link) {
    static uint8_t bytes[READ_BYTES];
    ssize_t n = read(link->socket, bytes, sizeof bytes);
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) return close_link(link);
    if (!link->session && !link->answers && !held(&link->in) && n >= 3 && !memcmp(bytes, "PRI", 3))
        speak_http2(link);
    if (link->session) {
        if (nghttp2_session_mem_recv(link->session, bytes, (size_t)n) < 0) return close_link(link);
    } else {
        append(&link->in, bytes, (size_t)n);
        if (held(&link->in) > 2 * REQUEST_BYTES_MAX) return close_link(link);
        read_http1(link);
    }
    write_later(link);
}

static void turn_wheel(void) {
    for (uint64_t now_ms = now_ns() / 1000000; wheel_ms < now_ms;) {
        struct answer *answer = wheel[++wheel_ms % SLOTS], *next;
        wheel[wheel_ms % SLOTS] = NULL;
        for (; answer; answer = next) {
            next = answer->next, answer->on_wheel = 0, paced--;
            if (!answer->link) {
                drop(answer);
                continue;
            }
            if (held(&answer->out) < UNREAD_BYTES_MAX) produce(answer);
            answer->due_ns += answer->pace_ns;
            if (answer->left) hang(answer);
            if (answer->link->session)
                nghttp2_session_resume_data(answer->link->session, answer->stream_id);
            write_later(answer->link);
        }
    }
}

static void accept_all(int listener) {
    int one = 1, socket;
    while ((socket = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        struct link *link = calloc(1, sizeof *link);
        link->socket = socket;
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = link};
        epoll_ctl(epoll_fd, EPOLL_CTL_ADD, socket, &event);
    }
}

static int listen_on(int port) {
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    if (bind(listener, (void *)&address, size) || listen(listener, 4096)) die("listen");
    getsockname(listener, (void *)&address, &size);
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    return listener;
}

int main(int argc, char **argv) {
    if (argc != 2) return fprintf(stderr, "usage: provider PORT\n"), 2;
    signal(SIGPIPE, SIG_IGN);
    nghttp2_session_callbacks_new(&callbacks);
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
    epoll_fd = epoll_create1(0);
    int listener = listen_on(atoi(argv[1]));
    struct epoll_event ready[256], event = {.events = EPOLLIN, .data.ptr = NULL};
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &event);
    wheel_ms = now_ns() / 1000000;
    for (;;) {
        int n = epoll_wait(epoll_fd, ready, 256, paced ? 1 : 100);
        for (int i = 0; i < n; i++) {
            struct link *link = ready[i].data.ptr;
            if (!link) accept_all(listener);
            else if (ready[i].events & ~EPOLLOUT) receive(link);
            else write_later(link);
        }
        turn_wheel();
        write_all();
    }
}
