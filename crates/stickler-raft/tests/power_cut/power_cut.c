/*
 * A preloaded library that keeps, beside a folder in use, what a power cut would leave of it.
 *
 * Nothing reaches the record but what was synced: a file's content with fsync or fdatasync of the file, the
 * names in a directory with fsync of the directory. A rename, a new file or a removal without a sync of its
 * directory is lost, and so is a write that only sync_file_range pushed. This is stricter than common file
 * systems, which sync a new file's name with its content.
 *
 * The record is a flat folder. An object (file or directory) is named by its inode and its time of birth,
 * because inode numbers come again. "f-<object>" is a file's synced content, "d-<object>" a directory's
 * synced names, a line "<f|d> <object> <name>" each, "root" names the root's object. Every one of them is
 * replaced by a rename, so that killing the process at any moment leaves a record that is whole.
 *
 *   POWER_CUT_ROOT                      the folder in use, an absolute path
 *   POWER_CUT_RECORD                    where the record is kept, an empty folder on the same file system
 *   POWER_CUT_WITHOUT_FDATASYNC         if set, fdatasync does nothing
 *   POWER_CUT_FDATASYNCS_BEFORE_FAILURE if set, fdatasync fails with EIO after so many calls
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *root;
static const char *record;
static int without_fdatasync;
static long fdatasyncs_left = -1;
static pthread_mutex_t recording = PTHREAD_MUTEX_INITIALIZER;

static void give_up(const char *what, const char *path) {
    fprintf(stderr, "power_cut: %s %s: %s\n", what, path, strerror(errno));
    abort();
}

static void object_of(const char *path, char object[64]) {
    struct statx found;
    if (statx(AT_FDCWD, path, 0, STATX_INO | STATX_BTIME, &found) != 0) give_up("statx", path);
    snprintf(object, 64, "%llu-%lld-%u", (unsigned long long)found.stx_ino, (long long)found.stx_btime.tv_sec,
             found.stx_btime.tv_nsec);
}

static void record_path(char path[PATH_MAX], const char *kind, const char *object) {
    snprintf(path, PATH_MAX, "%s/%s%s", record, kind, object);
}

static void write_fully(int to, const char *bytes, size_t length, const char *path) {
    while (length > 0) {
        ssize_t written = write(to, bytes, length);
        if (written < 0) give_up("write", path);
        bytes += written;
        length -= (size_t)written;
    }
}

static void record_file(const char *path) {
    char object[64], final[PATH_MAX], temporary[PATH_MAX];
    static char buffer[1 << 20];
    object_of(path, object);
    record_path(final, "f-", object);
    record_path(temporary, "temporary", "");
    int from = open(path, O_RDONLY | O_CLOEXEC);
    if (from < 0) give_up("open", path);
    int to = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (to < 0) give_up("open", temporary);
    ssize_t length;
    while ((length = read(from, buffer, sizeof buffer)) > 0) write_fully(to, buffer, (size_t)length, temporary);
    if (length < 0) give_up("read", path);
    close(from);
    close(to);
    if (rename(temporary, final) != 0) give_up("rename", final);
}

static void record_directory(const char *path, int deeply) {
    char object[64], final[PATH_MAX], temporary[PATH_MAX];
    object_of(path, object);
    record_path(final, "d-", object);
    char *lines = NULL;
    size_t length = 0;
    FILE *text = open_memstream(&lines, &length);
    DIR *directory = opendir(path);
    if (directory == NULL || text == NULL) give_up("opendir", path);
    struct dirent *entry;
    while ((entry = readdir(directory)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        char child[PATH_MAX], child_object[64];
        struct stat found;
        if (snprintf(child, sizeof child, "%s/%s", path, entry->d_name) >= (int)sizeof child) abort();
        /* Another thread may have removed it since: then its name is not there to be synced. */
        if (lstat(child, &found) != 0) continue;
        int is_directory = S_ISDIR(found.st_mode);
        if (deeply && is_directory) record_directory(child, 1);
        if (deeply && !is_directory) record_file(child);
        object_of(child, child_object);
        fprintf(text, "%c %s %s\n", is_directory ? 'd' : 'f', child_object, entry->d_name);
    }
    closedir(directory);
    fclose(text);
    record_path(temporary, "temporary", "");
    int to = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (to < 0) give_up("open", temporary);
    write_fully(to, lines, length, temporary);
    close(to);
    free(lines);
    if (rename(temporary, final) != 0) give_up("rename", final);
}

__attribute__((constructor)) static void begin(void) {
    root = getenv("POWER_CUT_ROOT");
    record = getenv("POWER_CUT_RECORD");
    without_fdatasync = getenv("POWER_CUT_WITHOUT_FDATASYNC") != NULL;
    const char *left = getenv("POWER_CUT_FDATASYNCS_BEFORE_FAILURE");
    if (left != NULL) fdatasyncs_left = atol(left);
    if (root == NULL || record == NULL) return;
    record_directory(root, 1);
    char object[64], path[PATH_MAX];
    object_of(root, object);
    record_path(path, "root", "");
    int to = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (to < 0) give_up("open", path);
    write_fully(to, object, strlen(object), path);
    close(to);
}

static int record_descriptor(int descriptor) {
    char link[64], path[PATH_MAX];
    struct stat found;
    if (fstat(descriptor, &found) != 0) return -1;
    if (root == NULL || record == NULL) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) give_up("readlink", link);
    path[length] = 0;
    size_t root_length = strlen(root);
    if (strncmp(path, root, root_length) != 0 || (path[root_length] != '/' && path[root_length] != 0)) return 0;
    pthread_mutex_lock(&recording);
    /* By the descriptor, so that a file that was renamed or removed meanwhile is still the same. */
    if (S_ISDIR(found.st_mode)) record_directory(path, 0);
    else record_file(link);
    pthread_mutex_unlock(&recording);
    return 0;
}

int fsync(int descriptor) { return record_descriptor(descriptor); }

int fdatasync(int descriptor) {
    if (without_fdatasync) return 0;
    if (fdatasyncs_left == 0) {
        errno = EIO;
        return -1;
    }
    if (fdatasyncs_left > 0) fdatasyncs_left--;
    return record_descriptor(descriptor);
}
