/* Preloaded into the daemon under test: makes its disk fail and its wall clock jump, as one byte and one number in a
 * shared file say. Only what lies in a folder called `data` is touched: the journal and the ledger, not the sinks' files.
 *
 *   byte 0   0 all is well, 1 writes and flushes fail (EIO), 2 writes find the disk full (ENOSPC), 3 flushes hang (10 s)
 *   byte 8   seconds that the wall clock is ahead, a 64-bit integer
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

struct control { volatile unsigned char mode; char pad[7]; volatile int64_t ahead; };
static struct control *control;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("HOOKRELAY_SHIM");
    int fd = path ? open(path, O_RDONLY) : -1;
    if (fd < 0) return;
    void *at = mmap(NULL, sizeof(struct control), PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
    if (at != MAP_FAILED) control = at;
}

static int mode_of(int fd) {
    char link[64], path[4096];
    if (!control || !control->mode) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n < 0) return 0;
    path[n] = 0;
    return strstr(path, "/data/") ? control->mode : 0;
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
    return refused(fd) ? -1 : real(fd, buf, n, at);
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
    return real(fd);
}
int fdatasync(int fd) { REAL("fdatasync", sync_t); return flush(fd, real); }
int fsync(int fd) { REAL("fsync", sync_t); return flush(fd, real); }

typedef int (*clock_t_)(clockid_t, struct timespec *);
int clock_gettime(clockid_t id, struct timespec *now) {
    REAL("clock_gettime", clock_t_);
    int done = real(id, now);
    if (!done && id == CLOCK_REALTIME && control) now->tv_sec += control->ahead;
    return done;
}
