/* Preloaded into the daemon under test: makes its disk fail and its wall clock jump, as one byte and one number in a
 * shared file say. Only what lies in a folder called `data` is touched: the journal and the ledger, not the sinks' files.
 *
 *   byte 0   0 all is well, 1 writes and flushes fail (EIO), 2 writes find the disk full (ENOSPC), 3 flushes hang (10 s),
 *            4 threads of the name in HOOKRELAY_SHIM_THREAD stand still when they next look at the clock
 *   byte 8   seconds that the wall clock is ahead, a 64-bit integer
 *
 * Where HOOKRELAY_SHIM_LOG names a file, what is written to the journal (W) and to sockets (R) and when flushes of the
 * journal begin (B) and have ended (S) is put into it, in order: a letter, a 32-bit length, so many bytes.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

struct control { volatile unsigned char mode; char pad[7]; volatile int64_t ahead; };
static struct control *control;
static int log_fd = -1;
static const char *still;
static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;

static void put(char what, const void *bytes, uint32_t n) {
    if (log_fd < 0) return;
    pthread_mutex_lock(&log_lock);
    struct iovec parts[3] = { { &what, 1 }, { &n, 4 }, { (void *)bytes, n } };
    if (syscall(SYS_writev, log_fd, parts, 3) < 0) abort();
    pthread_mutex_unlock(&log_lock);
}

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("HOOKRELAY_SHIM");
    const char *order = getenv("HOOKRELAY_SHIM_LOG");
    still = getenv("HOOKRELAY_SHIM_THREAD");
    if (order) log_fd = open(order, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    int fd = path ? open(path, O_RDONLY) : -1;
    if (fd < 0) return;
    void *at = mmap(NULL, sizeof(struct control), PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
    if (at != MAP_FAILED) control = at;
}

static int lies_in(int fd, const char *folder) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n < 0) return 0;
    path[n] = 0;
    return strstr(path, folder) != NULL;
}

static int mode_of(int fd) {
    if (!control || !control->mode) return 0;
    return lies_in(fd, "/data/") ? control->mode : 0;
}

#define REAL(name, type) static type real; if (!real) real = (type)dlsym(RTLD_NEXT, name)

typedef ssize_t (*pwrite_t)(int, const void *, size_t, off64_t);
static int refused(int fd) {
    switch (mode_of(fd)) {
    case 1: errno = EIO; return 1;
    case 2: errno = ENOSPC; return 1;
    default: return 0;
    }
}
ssize_t pwrite64(int fd, const void *buf, size_t n, off64_t at) {
    REAL("pwrite64", pwrite_t);
    if (refused(fd)) return -1;
    ssize_t done = real(fd, buf, n, at);
    if (log_fd >= 0 && done > 0 && lies_in(fd, "/journal/")) put('W', buf, done);
    return done;
}
ssize_t pwrite(int fd, const void *buf, size_t n, off_t at) {
    REAL("pwrite", pwrite_t);
    return refused(fd) ? -1 : real(fd, buf, n, at);
}

typedef int (*sync_t)(int);
static int flush(int fd, sync_t real) {
    int mode = mode_of(fd);
    if (mode == 1) { errno = EIO; return -1; }
    for (int i = 0; mode == 3 && i < 1000; i++, mode = mode_of(fd)) usleep(10000);
    int logged = log_fd >= 0 && lies_in(fd, "/journal/");
    if (logged) put('B', "", 0);
    int done = real(fd);
    if (logged && !done) put('S', "", 0);
    return done;
}
int fdatasync(int fd) { REAL("fdatasync", sync_t); return flush(fd, real); }
int fsync(int fd) { REAL("fsync", sync_t); return flush(fd, real); }

static void stand_still(void) {
    char name[16];
    if (pthread_getname_np(pthread_self(), name, sizeof name) || strcmp(name, still)) return;
    while (control->mode == 4) usleep(10000);
}

typedef int (*clock_t_)(clockid_t, struct timespec *);
int clock_gettime(clockid_t id, struct timespec *now) {
    REAL("clock_gettime", clock_t_);
    if (control && control->mode == 4 && still) stand_still();
    int done = real(id, now);
    if (!done && id == CLOCK_REALTIME && control) now->tv_sec += control->ahead;
    return done;
}

/* Before it goes out: whoever reads it may do so at once. */
static void answer(int fd, const void *bytes, size_t n) {
    if (log_fd >= 0 && n > 12 && !memcmp(bytes, "HTTP/1.1 200", 12)) put('R', bytes, n);
    (void)fd;
}
typedef ssize_t (*send_t)(int, const void *, size_t, int);
ssize_t send(int fd, const void *buf, size_t n, int flags) {
    REAL("send", send_t);
    answer(fd, buf, n);
    return real(fd, buf, n, flags);
}
typedef ssize_t (*write_t)(int, const void *, size_t);
ssize_t write(int fd, const void *buf, size_t n) {
    REAL("write", write_t);
    answer(fd, buf, n);
    return real(fd, buf, n);
}
typedef ssize_t (*writev_t)(int, const struct iovec *, int);
ssize_t writev(int fd, const struct iovec *parts, int count) {
    REAL("writev", writev_t);
    if (log_fd >= 0 && count > 0 && parts[0].iov_len > 12 && !memcmp(parts[0].iov_base, "HTTP/1.1 200", 12)) {
        char all[65536];
        size_t n = 0;
        for (int i = 0; i < count && n + parts[i].iov_len <= sizeof all; i++) {
            memcpy(all + n, parts[i].iov_base, parts[i].iov_len);
            n += parts[i].iov_len;
        }
        put('R', all, n);
    }
    return real(fd, parts, count);
}
