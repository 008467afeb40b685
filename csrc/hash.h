/* SPDX-License-Identifier: Apache-2.0 */
/* hash.h - seeded 64-bit hash of a key's bytes, by folded 64x64->128 bit multiplication (the mixing step of Wang Yi's
 * wyhash). The seed is random per table, so that nobody can choose keys that share a bucket of a table unseen. */
#ifndef TMGR_HASH_H
#define TMGR_HASH_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint64_t hash_mix(uint64_t a, uint64_t b) {
    __extension__ typedef unsigned __int128 wide;
    wide product = (wide)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static inline uint64_t hash_read8(const uint8_t *at) {
    uint64_t value;
    memcpy(&value, at, 8);
    return value;
}

static inline uint64_t hash_read4(const uint8_t *at) {
    uint32_t value;
    memcpy(&value, at, 4);
    return value;
}

static inline uint64_t hash_bytes(const uint8_t *key, size_t len, uint64_t seed) {
    const uint64_t odd1 = 0x9e3779b97f4a7c15u, odd2 = 0xd6e8feb86659fd93u, odd3 = 0xa0761d6478bd642fu;
    uint64_t state = seed ^ hash_mix(len ^ odd1, odd2), a, b;
    const uint8_t *end = key + len;
    if (len > 16) {
        for (; end - key > 16; key += 16)
            state = hash_mix(hash_read8(key) ^ odd2, hash_read8(key + 8) ^ state);
        a = hash_read8(end - 16); /* overlaps what the loop has read; all of it is inside the key */
        b = hash_read8(end - 8);
    } else if (len >= 8) {
        a = hash_read8(key);
        b = hash_read8(end - 8);
    } else if (len >= 4) {
        a = hash_read4(key);
        b = hash_read4(end - 4);
    } else {
        a = len > 0 ? (uint64_t)key[0] << 16 | (uint64_t)key[len / 2] << 8 | end[-1] : 0;
        b = 0;
    }
    return hash_mix(odd3 ^ len, hash_mix(a ^ odd2, b ^ state));
}

#endif
