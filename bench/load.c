/* A load generator for the benchmarks: one thread, epoll, many sessions.
 *
 *   load smtp HOST PORT SESSIONS MESSAGES SIZE DOMAIN USERS   MESSAGES over SESSIONS connections, each message to one
 *                                                             of USERS addresses u0..@DOMAIN, commands pipelined
 *   load pop3 HOST PORT USER PASSWORD DEPTH                   RETR of every message, DEPTH requests ahead
 *
 * Prints one JSON object: messages, seconds, bytes and, for smtp, percentiles of final dot -> 250 in milliseconds.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BUFFER = 1 << 16 };

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static void die(const char *what, const char *detail) {
    fprintf(stderr, "load: %s %s\n", what, detail);
    exit(1);
}

static int dial(const char *host, int port) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
    int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    inet_pton(AF_INET, host, &a.sin_addr);
    if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof a)) die("cannot connect to", host);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

static void send_all(int fd, const char *data, size_t n) {
    while (n) {
        ssize_t w = write(fd, data, n);
        if (w < 0) { if (errno == EINTR) continue; die("write:", strerror(errno)); }
        data += w; n -= w;
    }
}

/* A message of about SIZE bytes as a small company sends them: ten header fields, text lines of 72 characters. */
static char *make_message(int size, size_t *length) {
    char *m = malloc(size + 4096);
    int n = sprintf(m,
        "Date: Tue, 24 Nov 2026 12:00:00 +0900\r\nFrom: =?UTF-8?B?5bGx55Sw5aSq6YOO?= <yamada@sender.test>\r\n"
        "To: Suzuki <u0@example.test>\r\nSubject: =?UTF-8?B?6KuL5rGC5pu444Gu5Lu2?= %d\r\n"
        "Message-ID: <%d.%d@sender.test>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
        "Content-Transfer-Encoding: 8bit\r\nUser-Agent: load\r\n\r\n", size, (int)getpid(), size);
    while (n < size) {
        int i, width = size - n - 2 < 72 ? size - n - 2 : 72;
        for (i = 0; i < width; i++) { m[n] = 'a' + (n * 7 + i) % 26; n++; }
        m[n++] = '\r'; m[n++] = '\n';
    }
    n += sprintf(m + n, ".\r\n");
    *length = n;
    return m;
}

struct session { int fd, state, expected; size_t got; double sent; char line[4096]; };

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static int run_smtp(char **v) {
    const char *host = v[0], *domain = v[5];
    int port = atoi(v[1]), sessions = atoi(v[2]), total = atoi(v[3]), size = atoi(v[4]), users = atoi(v[6]);
    int started = 0, done = 0, failed = 0, live = sessions, e = epoll_create1(0), i;
    size_t length;
    char *message = make_message(size, &length), first_error[256] = "", command[1024];
    double *took = malloc(sizeof(double) * (total + 1)), begin, end;
    struct session *all = calloc(sessions, sizeof *all);
    for (i = 0; i < sessions; i++) {
        struct epoll_event ev = {.events = EPOLLIN, .data.ptr = &all[i]};
        all[i].fd = dial(host, port);
        all[i].expected = 1;            /* the greeting */
        epoll_ctl(e, EPOLL_CTL_ADD, all[i].fd, &ev);
    }
    begin = now();
    while (live > 0) {
        struct epoll_event ev[128];
        int n = epoll_wait(e, ev, 128, 60000);
        if (n == 0) die("no answer for 60 s", first_error);
        for (i = 0; i < n; i++) {
            struct session *s = ev[i].data.ptr;
            char *start, *at;
            ssize_t r = read(s->fd, s->line + s->got, sizeof s->line - 1 - s->got);
            if (r <= 0) { if (s->state != 9) { failed++; snprintf(first_error, sizeof first_error, "closed in state %d", s->state); }
                close(s->fd); live--; continue; }
            s->got += r;
            s->line[s->got] = 0;
            for (start = s->line; (at = strchr(start, '\n')); start = at + 1) {
                if (start[3] == '-') continue;
                if (start[0] != '2' && start[0] != '3') {
                    failed++;
                    if (!first_error[0]) snprintf(first_error, sizeof first_error, "%.200s", start);
                }
                if (--s->expected > 0) continue;
                if (s->state == 3) { took[done++] = now() - s->sent; s->state = 1; }
                if (s->state == 0) { send_all(s->fd, "EHLO client.test\r\n", 18); s->state = 1; s->expected = 1; }
                else if (s->state == 1 && started < total) {
                    int c = snprintf(command, sizeof command, "MAIL FROM:<yamada@sender.test>\r\nRCPT TO:<u%d@%s>\r\nDATA\r\n",
                                     started++ % users, domain);
                    send_all(s->fd, command, c);
                    s->state = 2; s->expected = 3;
                } else if (s->state == 1) { send_all(s->fd, "QUIT\r\n", 6); s->state = 9; s->expected = 1; }
                else if (s->state == 2) { send_all(s->fd, message, length); s->sent = now(); s->state = 3; s->expected = 1; }
            }
            s->got -= start - s->line;
            memmove(s->line, start, s->got);
        }
    }
    end = now();
    qsort(took, done, sizeof *took, by_value);
    printf("{\"messages\": %d, \"seconds\": %.4f, \"failed\": %d, \"p50_ms\": %.3f, \"p99_ms\": %.3f, \"max_ms\": %.3f, \"error\": \"",
           done, end - begin, failed, done ? took[done / 2] * 1e3 : 0, done ? took[done * 99 / 100] * 1e3 : 0,
           done ? took[done - 1] * 1e3 : 0);
    for (char *c = first_error; *c; c++) if (*c >= ' ' && *c != '"' && *c != '\\') putchar(*c);
    printf("\"}\n");
    return failed != 0;
}

/* POP3: reads "+OK ... CRLF body CRLF.CRLF"; the terminator is found by a small machine over the stream. */
static int run_pop3(char **v) {
    const char *host = v[0];
    int fd = dial(host, atoi(v[1])), depth = atoi(v[4]), asked = 0, got = 0, count = 0, match = 2, in_status = 1;
    char *buffer = malloc(BUFFER), command[512];
    ssize_t r;
    long long bytes = 0;
    double begin, end;
    FILE *f = fdopen(dup(fd), "r");
    setvbuf(f, NULL, _IONBF, 0);
    if (!fgets(buffer, BUFFER, f)) die("no greeting from", host);
    snprintf(command, sizeof command, "USER %s\r\n", v[2]); send_all(fd, command, strlen(command));
    if (!fgets(buffer, BUFFER, f) || *buffer != '+') die("USER:", buffer);
    snprintf(command, sizeof command, "PASS %s\r\n", v[3]); send_all(fd, command, strlen(command));
    if (!fgets(buffer, BUFFER, f) || *buffer != '+') die("PASS:", buffer);
    begin = now();
    send_all(fd, "STAT\r\n", 6);
    if (!fgets(buffer, BUFFER, f) || sscanf(buffer, "+OK %d", &count) != 1) die("STAT:", buffer);
    while (asked < depth && asked < count) { int c = sprintf(command, "RETR %d\r\n", ++asked); send_all(fd, command, c); }
    while (got < count) {
        static const char end_mark[] = "\r\n.\r\n";
        char out[4096];
        int o = 0;
        if ((r = read(fd, buffer, BUFFER)) <= 0) die("connection lost", "");
        bytes += r;
        for (ssize_t i = 0; i < r; i++) {
            if (in_status) {
                if (in_status == 1 && buffer[i] == '-') die("RETR refused", "");
                in_status = 2;
                if (buffer[i] == '\n') { in_status = 0; match = 2; }
                continue;
            }
            if (match == 0 && buffer[i] != '\r') {      /* the common case: skip to the next CR */
                char *cr = memchr(buffer + i, '\r', r - i);
                if (!cr) break;
                i = cr - buffer;
            }
            if (buffer[i] == end_mark[match]) {
                if (++match == 5) {
                    got++; in_status = 1; match = 0;
                    if (asked < count) { o += sprintf(out + o, "RETR %d\r\n", ++asked); }
                    if (o > 4000) { send_all(fd, out, o); o = 0; }
                }
            } else match = buffer[i] == '\r' ? 1 : 0;
        }
        if (o) send_all(fd, out, o);
    }
    end = now();
    send_all(fd, "QUIT\r\n", 6);
    printf("{\"messages\": %d, \"seconds\": %.4f, \"bytes\": %lld}\n", got, end - begin, bytes);
    return 0;
}

int main(int argc, char **argv) {
    if (argc == 9 && !strcmp(argv[1], "smtp")) return run_smtp(argv + 2);
    if (argc == 7 && !strcmp(argv[1], "pop3")) return run_pop3(argv + 2);
    fprintf(stderr, "usage: load smtp HOST PORT SESSIONS MESSAGES SIZE DOMAIN USERS | load pop3 HOST PORT USER PASSWORD DEPTH\n");
    return 2;
}
