/*
 * replay: sends the packets of a trace at their times and counts, by flow, what comes back.
 *
 *     replay TRACE     prints "ready", waits for a line on standard input, sends, prints "sent", counts what still
 *                      comes, prints one line of JSON
 *
 * A flow is one RTP stream that the system under test takes in at one of our peers' sockets and gives out at another:
 * what leaves with flow f is expected at the flow's out socket with the flow's out payload type. Sender and receiver
 * share a clock; arrival is the kernel's timestamp (SO_TIMESTAMPNS), so that this program's own scheduling is not in
 * the delays. Little endian, as trace.py writes it:
 *
 *     header   magic "OBT1", sockets u32, flows u32, records u32
 *     socket   local port u16, remote port u16 (0: receives only)
 *     flow     in socket u16, out socket u16, out payload type u16, packets low u16, high u16 (how many leave)
 *     record   time ns u64, flow u16, length u16, given u16, timed u16, then the given bytes; the rest up to length
 *              is filler. timed: its delay goes into the statistics.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { MTU = 2048, BUFFER_BYTES = 4 << 20, REST_US = 2000, QUIET_MS = 400, AFTER_MS = 1500, LAST_MS = 50 };

struct header { char magic[4]; uint32_t sockets, flows, records; };
struct port_pair { uint16_t local, remote; };
struct flow { uint16_t in, out, payload_type, packets_low, packets_high; };
struct record { uint64_t at; uint16_t flow, length, given, timed; };

struct count {
    int64_t first;                  /* extended sequence number of the first packet that came back, -1 before */
    int64_t last;
    uint64_t packets, markers, payload_bytes, duplicates, sent, sent_bytes;
    uint64_t *left, *came;          /* by number within the flow, CLOCK_REALTIME ns, 0: not yet */
    uint8_t *timed;
    uint32_t expected;
};

static struct header head;
static struct port_pair *pairs;
static struct flow *flows;
static struct count *counts;
static int *sockets;
static int16_t *flow_of;            /* [socket * 128 + payload type], -1: none */
static volatile int sending = 1;
static uint64_t rtcp, stray, lost_in_buffer;

static void fail(const char *what)
{
    fprintf(stderr, "replay: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t now(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void *must(void *memory)
{
    if (!memory)
        fail("memory");
    return memory;
}

static int open_socket(uint16_t port)
{
    int s = socket(AF_INET, SOCK_DGRAM, 0), size = BUFFER_BYTES, on = 1;
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (s < 0 || bind(s, (struct sockaddr *)&here, sizeof here))
        fail("bind");
    if (setsockopt(s, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size))
        setsockopt(s, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    setsockopt(s, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on);
    setsockopt(s, SOL_SOCKET, SO_RXQ_OVFL, &on, sizeof on);
    return s;
}

/* One datagram that came back. */
static void take(uint32_t socket, const uint8_t *data, size_t length, uint64_t at)
{
    if (length < 12 || (data[1] >= 192 && data[1] <= 223)) {
        rtcp++;
        return;
    }
    int index = flow_of[socket * 128 + (data[1] & 127)];
    if (index < 0) {
        stray++;
        return;
    }
    struct count *c = &counts[index];
    size_t before = 12 + 4 * (data[0] & 15);
    if (data[0] & 0x10 && length >= before + 4)
        before += 4 + 4 * (size_t)(data[before + 2] << 8 | data[before + 3]);
    uint16_t seq = (uint16_t)(data[2] << 8 | data[3]);
    /* RFC 3550 A.1: the nearest extension of 16 bits */
    int64_t extended = c->first < 0 ? seq + 65536 : c->last + (int16_t)(seq - (uint16_t)c->last);
    if (c->first < 0)
        c->first = extended;
    if (extended > c->last)
        c->last = extended;
    int64_t number = extended - c->first;
    if (number >= 0 && number < c->expected) {
        if (c->came[number]) {
            c->duplicates++;
            return;
        }
        c->came[number] = at;
    }
    c->packets++;
    c->markers += data[1] >> 7;
    c->payload_bytes += length > before ? length - before : 0;
}

static void drain(uint32_t index)
{
    for (;;) {
        uint8_t data[MTU];
        char control[256];
        struct iovec part = {data, sizeof data};
        struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
        ssize_t length = recvmsg(sockets[index], &message, MSG_DONTWAIT);
        if (length < 0 && errno == ECONNREFUSED)
            continue;
        if (length < 0)
            return;
        uint64_t at = 0;
        for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c)) {
            if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_TIMESTAMPNS) {
                struct timespec t;
                memcpy(&t, CMSG_DATA(c), sizeof t);
                at = (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
            } else if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SO_RXQ_OVFL) {
                uint32_t lost;
                memcpy(&lost, CMSG_DATA(c), sizeof lost);
                if (lost > lost_in_buffer)
                    lost_in_buffer = lost;
            }
        }
        take(index, data, (size_t)length, at);
    }
}

/* Ends when nothing but RTCP came for QUIET_MS after the last packet left, or AFTER_MS after it: a mixer goes on. */
static void *receive(void *unused)
{
    struct pollfd *wanted = must(calloc(head.sockets, sizeof *wanted));
    for (uint32_t i = 0; i < head.sockets; i++)
        wanted[i] = (struct pollfd){sockets[i], POLLIN, 0};
    uint64_t before = 0, heard = 0, sent = 0;
    for (;;) {
        poll(wanted, head.sockets, 50);
        for (uint32_t i = 0; i < head.sockets; i++)
            if (wanted[i].revents)
                drain(i);
        uint64_t all = 0, at = now(CLOCK_MONOTONIC);
        for (uint32_t i = 0; i < head.flows; i++)
            all += counts[i].packets;
        if (all != before || sending)
            heard = at;
        if (sending)
            sent = at;
        before = all;
        if (at - heard > QUIET_MS * 1000000u || at - sent > AFTER_MS * 1000000u)
            break;
        usleep(REST_US);
    }
    free(wanted);
    return unused;
}

static int by_size(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void report(uint64_t errors, uint64_t late)
{
    uint64_t total = 0, sent = 0, packets = 0;
    for (uint32_t i = 0; i < head.flows; i++) {
        total += counts[i].expected;
        sent += counts[i].sent;
        packets += counts[i].packets;
    }
    uint64_t *delays = must(malloc((total + 1) * sizeof *delays)), n = 0;
    for (uint32_t i = 0; i < head.flows; i++)
        for (uint32_t k = 0; k < counts[i].expected; k++)
            if (counts[i].timed[k] && counts[i].came[k])
                delays[n++] = counts[i].came[k] > counts[i].left[k] ? counts[i].came[k] - counts[i].left[k] : 0;
    qsort(delays, n, sizeof *delays, by_size);
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    printf("{\"sent\": %lu, \"packets\": %lu, \"errors\": %lu, \"late_us\": %lu, \"rtcp\": %lu, \"stray\": %lu, "
           "\"lost_in_buffer\": %lu, \"cpu_s\": %.3f, \"delays\": {\"count\": %lu",
           sent, packets, errors, late / 1000, rtcp, stray, lost_in_buffer,
           (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) + 1e-6 * (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec), n);
    if (n)
        printf(", \"p50_us\": %.1f, \"p99_us\": %.1f, \"p999_us\": %.1f, \"max_us\": %.1f", (double)delays[n / 2] / 1e3,
               (double)delays[n * 99 / 100] / 1e3, (double)delays[n * 999 / 1000] / 1e3, (double)delays[n - 1] / 1e3);
    printf("}, \"flows\": [");
    for (uint32_t i = 0; i < head.flows; i++)
        printf("%s[%lu, %lu, %lu, %lu, %lu]", i ? ", " : "", counts[i].sent, counts[i].packets, counts[i].markers,
               counts[i].payload_bytes, counts[i].duplicates);
    printf("]}\n");
    fflush(stdout);
}

int main(int argc, char **argv)
{
    int file = argc == 2 ? open(argv[1], O_RDONLY) : -1;
    struct stat facts;
    if (file < 0 || fstat(file, &facts))
        fail("trace");
    const uint8_t *trace = mmap(NULL, (size_t)facts.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, file, 0);
    if (trace == MAP_FAILED)
        fail("mmap");
    memcpy(&head, trace, sizeof head);
    if (memcmp(head.magic, "OBT1", 4))
        fail("not a trace");
    const uint8_t *at = trace + sizeof head;
    pairs = (struct port_pair *)at;
    at += head.sockets * sizeof *pairs;
    flows = (struct flow *)at;
    at += head.flows * sizeof *flows;

    sockets = must(calloc(head.sockets, sizeof *sockets));
    counts = must(calloc(head.flows, sizeof *counts));
    flow_of = must(malloc(head.sockets * 128 * sizeof *flow_of));
    memset(flow_of, -1, head.sockets * 128 * sizeof *flow_of);
    for (uint32_t i = 0; i < head.sockets; i++)
        sockets[i] = open_socket(pairs[i].local);
    for (uint32_t i = 0; i < head.flows; i++) {
        uint32_t expected = flows[i].packets_low | (uint32_t)flows[i].packets_high << 16;
        counts[i] = (struct count){.first = -1, .last = -1, .expected = expected};
        counts[i].left = must(calloc(expected + 1, 8));
        counts[i].came = must(calloc(expected + 1, 8));
        counts[i].timed = must(calloc(expected + 1, 1));
        flow_of[flows[i].out * 128 + flows[i].payload_type] = (int16_t)i;
    }
    puts("ready");
    fflush(stdout);
    if (getchar() == EOF)
        return 1;

    pthread_t receiver;
    if (pthread_create(&receiver, NULL, receive, NULL))
        fail("thread");
    /* A late sender would look like a late system under test. Where the host doesn't allow it, late_us tells. */
    struct sched_param priority = {.sched_priority = 2};
    pthread_setschedparam(pthread_self(), SCHED_FIFO, &priority);

    uint8_t packet[MTU], filler[MTU];
    for (size_t i = 0; i < sizeof filler; i++)
        filler[i] = (uint8_t)(i * 167 + 13);
    memcpy(packet, filler, sizeof packet);
    uint64_t start = now(CLOCK_MONOTONIC) + 20000000u, errors = 0, late = 0, due = 0;
    for (uint32_t i = 0; i < head.records; i++) {
        struct record r;
        memcpy(&r, at, sizeof r);
        memcpy(packet, at + sizeof r, r.given);
        at += sizeof r + r.given;
        if (start + r.at != due) {
            due = start + r.at;
            struct timespec t = {(time_t)(due / 1000000000u), (long)(due % 1000000000u)};
            while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR)
                ;
            uint64_t here = now(CLOCK_MONOTONIC);
            if (here - due > late)
                late = here - due;
        }
        struct count *c = &counts[r.flow];
        uint32_t in = flows[r.flow].in;
        struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(pairs[in].remote), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        if (c->sent < c->expected) {
            c->timed[c->sent] = (uint8_t)r.timed;
            c->left[c->sent] = now(CLOCK_REALTIME);
        }
        if (sendto(sockets[in], packet, r.length, 0, (struct sockaddr *)&to, sizeof to) < 0)
            errors++;
        c->sent++;
        memcpy(packet, filler, r.given);
    }
    usleep(1000 * LAST_MS);
    puts("sent");
    fflush(stdout);
    sending = 0;
    pthread_join(receiver, NULL);
    report(errors, late);
    return 0;
}
