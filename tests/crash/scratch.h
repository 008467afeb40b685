/* SPDX-License-Identifier: Apache-2.0 */
/* scratch.h - one segment that is put back into a saved state before every kill, and the states seen so far.
 *
 * An image is a copy of a segment's bytes. Written back, it is the table again: nothing in a segment depends on its
 * inode. The image of a table whose writer was killed holds the mark that the kernel left in the lock. */
#ifndef SCRATCH_H
#define SCRATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct image {
    uint8_t *bytes; /* shared memory, so that a fork does not copy it */
    size_t len, capacity;
};
struct scratch {
    char prefix[32];  /* what the names of all segments of this process's tests begin with */
    char segment[64]; /* its name */
    char other[64];   /* a second name, for rename; nothing bears it after a restore */
    int fd;
    uint8_t *map;
    size_t mapped;
};

/* From here on getrandom(), and so the core's hash seed, gives the numbers that follow from seed: a failure repeats. */
void scratch_seed(uint64_t seed);
void scratch_name(struct scratch *scratch, const char *label);
/* Forget the inode and remove both names. */
void scratch_remove(struct scratch *scratch);
/* Take what bears the name now into the image. */
void image_save(struct image *image, struct scratch *scratch);
/* The name leads to a segment with the image's bytes. Keeps the inode if it is still the one. */
void image_restore(const struct image *image, struct scratch *scratch);
void image_free(struct image *image);
/* Of the bytes under the name, a thread id that a lock remembers left out; 0 if nothing bears the name. */
uint64_t scratch_digest(struct scratch *scratch, pid_t thread);
/* True if /dev/shm holds no other file that begins with the prefix than `segment` and `other`. */
bool scratch_is_alone(const struct scratch *scratch, char *found, size_t size);

struct digests {
    uint64_t *slots;
    size_t capacity, count;
};
/* True if it was not there. */
bool digests_add(struct digests *digests, uint64_t digest);
void digests_free(struct digests *digests);

#endif
