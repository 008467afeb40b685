/* SPDX-License-Identifier: Apache-2.0 */
/* scratch.h - two segment names that are put back into a saved state before every kill, and the states seen so far.
 *
 * An image is a copy of what stands under both names. Written back, it is the table again: nothing in a segment depends
 * on its inode. The image of a table whose writer was killed holds the mark that the kernel left in the lock. */
#ifndef SCRATCH_H
#define SCRATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { PLACES = 2, SCRATCH_PAGE = 4096 };

struct image {
    struct {
        uint8_t *bytes; /* shared memory, so that a fork does not copy it */
        size_t len, capacity;
    } at[PLACES];
};
struct scratch {
    char prefix[32];          /* what the names of all segments of this process's tests begin with */
    char segment[64];         /* the table's name */
    char other[64];           /* a second one, for rename */
    const char *name[PLACES]; /* both */
    struct place {
        int fd;
        uint8_t *map;
        size_t mapped;
        uint64_t inode;
    } at[PLACES];
};

/* From here on getrandom(), and so the core's hash seed, gives the numbers that follow from seed: a failure repeats. */
void scratch_seed(uint64_t seed);
/* Names no other process of these tests has. The scratch must stay where it is. */
void scratch_name(struct scratch *scratch, const char *label);
/* Forget the inodes and remove both names. */
void scratch_remove(struct scratch *scratch);
/* Map what bears the names now, whatever and however long that is; mapped is 0 where there is nothing. */
void scratch_look(struct scratch *scratch);
/* Take what bears the names now into the image. */
void image_save(struct image *image, struct scratch *scratch);
/* The names lead to segments with the image's bytes, or to none. Keeps an inode if it is still the one. */
void image_restore(const struct image *image, struct scratch *scratch);
void image_free(struct image *image);
/* True if /dev/shm holds no other file that begins with the prefix than `segment` and `other`. */
bool scratch_is_alone(const struct scratch *scratch, char *found, size_t size);

/* A process by its number and, as numbers come round again, its start time as the core tells it. pid 0: none. */
struct process {
    pid_t pid;
    uint64_t start;
};
/* Processes that an owner word or a lock may name; a digest tells which of them it is, but not its number. */
struct cast {
    struct process at[2];
};
/* Of one page of a place. The sum over all pages of both places is the digest of what stands there. */
uint64_t page_digest(const struct scratch *scratch, size_t place, size_t page, const struct cast *cast);
/* The sum, of what bears the names now; 0: nothing does. */
uint64_t scratch_digest(struct scratch *scratch, const struct cast *cast);
/* One word as a digest sees it. */
uint64_t scratch_word(const struct scratch *scratch, size_t place, size_t offset, const struct cast *cast);

struct digests {
    uint64_t *slots;
    size_t capacity, count;
};
/* True if it was not there. 0 counts as a number like any other. */
bool digests_add(struct digests *digests, uint64_t digest);
bool digests_has(const struct digests *digests, uint64_t digest);
/* All of `from` as well. */
void digests_merge(struct digests *digests, const struct digests *from);
void digests_free(struct digests *digests);

#endif
