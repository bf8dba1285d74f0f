/*
 * A preloaded library between a node and its machine. It does four things, each only if its variable is set:
 *
 *   CHAOS_SOURCE    an IPv4 loopback address: connections to other loopback addresses come from it, so that a
 *                   link in between knows whose they are
 *   CHAOS_CONTROL   a file of 64 bytes that another process writes: the disk's and the clock's faults, below
 *   CHAOS_ROOT      a folder, as an absolute path: disk faults concern what is in it
 *   CHAOS_RECORD    a folder beside it that holds what a power cut would leave of CHAOS_ROOT
 *
 * The record. Nothing reaches it but what was synced: a file's content with fsync or fdatasync of the file,
 * the names in a directory with fsync of the directory. A rename, a new file or a removal without a sync of its
 * directory is lost, and so is a write that only sync_file_range pushed: stricter than common file systems. An
 * object (file or directory) is named by its inode and its time of birth. "f-<object>" is a file's synced
 * content, "d-<object>" a directory's synced names, a line "<f|d> <object> <name>" each, "root" names the root's
 * object. A sync copies what was written since the last one; killing the process in the middle leaves some of
 * it, as a power cut in the middle of a sync does. What an earlier process wrote and never synced is in the
 * files, not in the record, until this one syncs the file.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* What the control file holds; `control.rs` writes it. A clock reads true + base + (true - anchor) * rate. */
struct control {
    volatile uint64_t change;      /* odd while the clock's line is being written */
    volatile uint64_t sync_fails;  /* fsync and fdatasync answer EIO */
    volatile uint64_t no_space;    /* what would grow a file answers ENOSPC */
    volatile uint64_t sync_delay;  /* microseconds that a sync takes longer */
    volatile int64_t anchor;       /* nanoseconds of CLOCK_MONOTONIC */
    volatile int64_t base;         /* nanoseconds */
    volatile int64_t rate;         /* millionths */
    volatile int64_t wall;         /* nanoseconds by which the time of day is ahead */
};

static struct control *control;
static struct in_addr source;
static int has_source;
static const char *root;
static size_t root_length;
static const char *record;
static pthread_mutex_t recording = PTHREAD_MUTEX_INITIALIZER;

static int (*real_connect)(int, const struct sockaddr *, socklen_t);
static int (*real_fsync)(int);
static int (*real_fdatasync)(int);
static int (*real_close)(int);
static int (*real_ftruncate)(int, off_t);
static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_writev)(int, const struct iovec *, int);
static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);

static void give_up(const char *what, const char *path) {
    fprintf(stderr, "preload: %s %s: %s\n", what, path, strerror(errno));
    abort();
}

/* ---- which descriptors are files in the folder, and what of them was written since the last sync ---- */

#define DESCRIPTORS 65536
#define RANGES 4096
#define OBJECTS 512

struct object {
    char name[64];
    int all; /* all of it counts as written */
    size_t count;
    struct { off_t from, to; } written[RANGES];
};

static struct object *objects[OBJECTS];
static size_t object_count;
/* 0: not looked at, 1: of no concern, 2 + n: object n */
static unsigned short of_descriptor[DESCRIPTORS];

static void object_name(const char *path, char name[64]) {
    struct statx found;
    if (statx(AT_FDCWD, path, 0, STATX_INO | STATX_BTIME, &found) != 0) give_up("statx", path);
    snprintf(name, 64, "%llu-%lld-%u", (unsigned long long)found.stx_ino, (long long)found.stx_btime.tv_sec,
             found.stx_btime.tv_nsec);
}

static int is_inside(int descriptor, char path[PATH_MAX]) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return strncmp(path, root, root_length) == 0 && (path[root_length] == '/' || path[root_length] == 0);
}

/* The object behind a descriptor, or NULL. Called with the lock held. */
static struct object *object_of(int descriptor) {
    char path[PATH_MAX], link[64], name[64];
    struct stat found;
    if (descriptor < 0 || descriptor >= DESCRIPTORS || root == NULL) return NULL;
    if (of_descriptor[descriptor] == 1) return NULL;
    if (of_descriptor[descriptor] > 1) return objects[of_descriptor[descriptor] - 2];
    of_descriptor[descriptor] = 1;
    if (!is_inside(descriptor, path) || fstat(descriptor, &found) != 0 || !S_ISREG(found.st_mode)) return NULL;
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    object_name(link, name);
    size_t place = 0;
    while (place < object_count && strcmp(objects[place]->name, name) != 0) place++;
    if (place == OBJECTS) abort();
    if (place == object_count) {
        objects[place] = calloc(1, sizeof(struct object));
        if (objects[place] == NULL) abort();
        strcpy(objects[place]->name, name);
        objects[place]->all = 1;
        object_count++;
    }
    of_descriptor[descriptor] = (unsigned short)(place + 2);
    return objects[place];
}

static int concerns(int descriptor) {
    if (root == NULL) return 0;
    pthread_mutex_lock(&recording);
    int found = object_of(descriptor) != NULL;
    pthread_mutex_unlock(&recording);
    return found;
}

static void note(int descriptor, off_t from, off_t to) {
    if (record == NULL || to <= from) return;
    pthread_mutex_lock(&recording);
    struct object *object = object_of(descriptor);
    if (object != NULL && !object->all) {
        size_t last = object->count - 1;
        if (object->count > 0 && object->written[last].to >= from && object->written[last].from <= from) {
            if (object->written[last].to < to) object->written[last].to = to;
        } else if (object->count == RANGES) {
            object->all = 1;
        } else {
            object->written[object->count].from = from;
            object->written[object->count].to = to;
            object->count++;
        }
    }
    pthread_mutex_unlock(&recording);
}

/* ---- the record ---- */

static void record_path(char path[PATH_MAX], const char *kind, const char *name) {
    snprintf(path, PATH_MAX, "%s/%s%s", record, kind, name);
}

static void copy_range(int from, int to, off_t begin, off_t end, const char *path) {
    static char buffer[1 << 20];
    while (begin < end) {
        size_t want = end - begin < (off_t)sizeof buffer ? (size_t)(end - begin) : sizeof buffer;
        ssize_t length = pread(from, buffer, want, begin);
        if (length < 0) give_up("read", path);
        if (length == 0) return; /* the file became shorter meanwhile */
        for (ssize_t done = 0; done < length;) {
            ssize_t written = real_pwrite(to, buffer + done, (size_t)(length - done), begin + done);
            if (written < 0) give_up("write", path);
            done += written;
        }
        begin += length;
    }
}

/* Opens the file behind a path for reading, without going through what is preloaded. */
static void record_file(const char *path, const char *name, struct object *object) {
    char final[PATH_MAX];
    struct stat size;
    record_path(final, "f-", name);
    int from = open(path, O_RDONLY | O_CLOEXEC);
    if (from < 0) give_up("open", path);
    int to = open(final, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (to < 0) give_up("open", final);
    if (fstat(from, &size) != 0) give_up("stat", path);
    if (object == NULL || object->all) {
        copy_range(from, to, 0, size.st_size, final);
    } else {
        for (size_t range = 0; range < object->count; range++)
            copy_range(from, to, object->written[range].from, object->written[range].to, final);
    }
    if (real_ftruncate(to, size.st_size) != 0) give_up("truncate", final);
    if (object != NULL) {
        object->all = 0;
        object->count = 0;
    }
    real_close(from);
    real_close(to);
}

static void record_directory(const char *path, int deeply) {
    char name[64], final[PATH_MAX], temporary[PATH_MAX];
    object_name(path, name);
    record_path(final, "d-", name);
    char *lines = NULL;
    size_t length = 0;
    FILE *text = open_memstream(&lines, &length);
    DIR *directory = opendir(path);
    if (directory == NULL || text == NULL) give_up("opendir", path);
    struct dirent *entry;
    while ((entry = readdir(directory)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        char child[PATH_MAX], child_name[64];
        struct stat found;
        if (snprintf(child, sizeof child, "%s/%s", path, entry->d_name) >= (int)sizeof child) abort();
        /* Another thread may have removed it since: then its name is not there to be synced. */
        if (lstat(child, &found) != 0) continue;
        if (!S_ISDIR(found.st_mode) && !S_ISREG(found.st_mode)) continue;
        int is_directory = S_ISDIR(found.st_mode);
        if (deeply && is_directory) record_directory(child, 1);
        object_name(child, child_name);
        if (deeply && !is_directory) record_file(child, child_name, NULL);
        fprintf(text, "%c %s %s\n", is_directory ? 'd' : 'f', child_name, entry->d_name);
    }
    closedir(directory);
    fclose(text);
    record_path(temporary, "temporary", "");
    int to = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (to < 0) give_up("open", temporary);
    for (size_t done = 0; done < length;) {
        ssize_t written = real_write(to, lines + done, length - done);
        if (written < 0) give_up("write", temporary);
        done += (size_t)written;
    }
    real_close(to);
    free(lines);
    if (rename(temporary, final) != 0) give_up("rename", final);
}

static void begin_record(void) {
    char name[64], path[PATH_MAX];
    record_path(path, "root", "");
    if (access(path, F_OK) == 0) return;
    record_directory(root, 1);
    object_name(root, name);
    int to = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (to < 0 || real_write(to, name, strlen(name)) < 0) give_up("write", path);
    real_close(to);
}

static void record_descriptor(int descriptor) {
    char path[PATH_MAX], link[64];
    struct stat found;
    if (record == NULL || fstat(descriptor, &found) != 0) return;
    pthread_mutex_lock(&recording);
    if (is_inside(descriptor, path)) {
        snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
        if (S_ISDIR(found.st_mode)) {
            record_directory(path, 0);
        } else {
            /* By the descriptor, so that a file that was renamed or removed meanwhile is still the same. */
            struct object *object = object_of(descriptor);
            if (object != NULL) record_file(link, object->name, object);
        }
    }
    pthread_mutex_unlock(&recording);
}

/* ---- the calls ---- */

static int sync_with(int (*real)(int), int descriptor) {
    if (control != NULL && root != NULL) {
        char path[PATH_MAX];
        if ((control->sync_fails || control->sync_delay) && is_inside(descriptor, path)) {
            if (control->sync_delay) usleep((useconds_t)control->sync_delay);
            if (control->sync_fails) {
                errno = EIO;
                return -1;
            }
        }
    }
    int done = real(descriptor);
    if (done == 0) record_descriptor(descriptor);
    return done;
}

int fsync(int descriptor) { return sync_with(real_fsync, descriptor); }
int fdatasync(int descriptor) { return sync_with(real_fdatasync, descriptor); }

static int is_full(int descriptor) {
    if (control == NULL || !control->no_space || !concerns(descriptor)) return 0;
    errno = ENOSPC;
    return 1;
}

ssize_t pwrite64(int descriptor, const void *bytes, size_t length, off_t from) {
    if (is_full(descriptor)) return -1;
    ssize_t written = real_pwrite(descriptor, bytes, length, from);
    if (written > 0) note(descriptor, from, from + written);
    return written;
}
ssize_t pwrite(int descriptor, const void *bytes, size_t length, off_t from) {
    return pwrite64(descriptor, bytes, length, from);
}

static void note_behind(int descriptor, ssize_t written) {
    if (written <= 0 || record == NULL || !concerns(descriptor)) return;
    off_t now = lseek(descriptor, 0, SEEK_CUR);
    if (now >= written) note(descriptor, now - written, now);
}

ssize_t write(int descriptor, const void *bytes, size_t length) {
    if (real_write == NULL) return syscall(SYS_write, descriptor, bytes, length);
    if (is_full(descriptor)) return -1;
    ssize_t written = real_write(descriptor, bytes, length);
    note_behind(descriptor, written);
    return written;
}

ssize_t writev(int descriptor, const struct iovec *pieces, int count) {
    if (is_full(descriptor)) return -1;
    ssize_t written = real_writev(descriptor, pieces, count);
    note_behind(descriptor, written);
    return written;
}

int ftruncate64(int descriptor, off_t length) {
    if (is_full(descriptor)) return -1;
    int done = real_ftruncate(descriptor, length);
    if (done == 0 && record != NULL) {
        pthread_mutex_lock(&recording);
        struct object *object = object_of(descriptor);
        if (object != NULL) object->all = 1;
        pthread_mutex_unlock(&recording);
    }
    return done;
}
int ftruncate(int descriptor, off_t length) { return ftruncate64(descriptor, length); }

int close(int descriptor) {
    if (root != NULL && descriptor >= 0 && descriptor < DESCRIPTORS && of_descriptor[descriptor] != 0) {
        pthread_mutex_lock(&recording);
        of_descriptor[descriptor] = 0;
        pthread_mutex_unlock(&recording);
    }
    return real_close == NULL ? (int)syscall(SYS_close, descriptor) : real_close(descriptor);
}

int connect(int descriptor, const struct sockaddr *to, socklen_t length) {
    if (has_source && to->sa_family == AF_INET && length >= sizeof(struct sockaddr_in)) {
        const struct sockaddr_in *inet = (const struct sockaddr_in *)to;
        if (ntohl(inet->sin_addr.s_addr) >> 24 == 127) {
            struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr = source};
            int later = 1; /* the port is chosen with the connection */
            setsockopt(descriptor, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &later, sizeof later);
            if (bind(descriptor, (struct sockaddr *)&from, sizeof from) != 0) return -1;
        }
    }
    return real_connect(descriptor, to, length);
}

/* ---- the clock ---- */

static int read_clock(clockid_t clock, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    static __thread int looking;
    if (real == NULL && !looking) {
        looking = 1;
        real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
        looking = 0;
    }
    return real == NULL ? (int)syscall(SYS_clock_gettime, clock, now) : real(clock, now);
}

static void shift(struct timespec *now, int64_t by) {
    int64_t nanoseconds = (int64_t)now->tv_sec * 1000000000 + now->tv_nsec + by;
    now->tv_sec = nanoseconds / 1000000000;
    now->tv_nsec = nanoseconds % 1000000000;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int done = read_clock(clock, now);
    if (done != 0 || control == NULL) return done;
    if (clock == CLOCK_REALTIME) {
        if (control->wall != 0) shift(now, control->wall);
    } else if (clock == CLOCK_MONOTONIC) {
        int64_t anchor, base, rate;
        uint64_t change;
        do {
            change = control->change;
            __sync_synchronize();
            anchor = control->anchor, base = control->base, rate = control->rate;
            __sync_synchronize();
        } while ((change & 1) != 0 || change != control->change);
        if (base != 0 || rate != 0) {
            int64_t true_now = (int64_t)now->tv_sec * 1000000000 + now->tv_nsec;
            int64_t since = true_now > anchor ? true_now - anchor : 0;
            shift(now, base + since / 1000000 * rate + since % 1000000 * rate / 1000000);
        }
    }
    return 0;
}

__attribute__((constructor)) static void begin(void) {
    real_connect = (int (*)(int, const struct sockaddr *, socklen_t))dlsym(RTLD_NEXT, "connect");
    real_fsync = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    real_fdatasync = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    real_close = (int (*)(int))dlsym(RTLD_NEXT, "close");
    real_ftruncate = (int (*)(int, off_t))dlsym(RTLD_NEXT, "ftruncate64");
    real_write = (ssize_t(*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
    real_writev = (ssize_t(*)(int, const struct iovec *, int))dlsym(RTLD_NEXT, "writev");
    real_pwrite = (ssize_t(*)(int, const void *, size_t, off_t))dlsym(RTLD_NEXT, "pwrite64");
    const char *address = getenv("CHAOS_SOURCE");
    has_source = address != NULL && inet_pton(AF_INET, address, &source) == 1;
    record = getenv("CHAOS_RECORD");
    const char *path = getenv("CHAOS_CONTROL");
    if (path != NULL) {
        int descriptor = open(path, O_RDONLY | O_CLOEXEC);
        if (descriptor < 0) give_up("open", path);
        void *shared = mmap(NULL, sizeof(struct control), PROT_READ, MAP_SHARED, descriptor, 0);
        if (shared == MAP_FAILED) give_up("map", path);
        control = shared;
        real_close(descriptor);
    }
    root = getenv("CHAOS_ROOT");
    if (root != NULL) root_length = strlen(root);
    if (root != NULL && record != NULL) begin_record();
}
