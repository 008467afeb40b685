// SPDX-License-Identifier: Apache-2.0
// What does the core itself cost, without Python? Find a key and copy its row out, and overwrite a row: random keys of
// 16 bytes, values of 100 bytes. Beside it the fastest hash map at hand, in one process, not shared, without locks:
// boost::unordered_flat_map, else absl::flat_hash_map, else an open-addressing table of this file, which is said.
//
// usage: core_bench ROWS ROUNDS SEGMENT
// Prints one line per measurement: STORE <tab> OPERATION <tab> NANOSECONDS-PER-OPERATION.

extern "C" {
#include "tablemgr.h"
}

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#if __has_include(<boost/unordered/unordered_flat_map.hpp>)
#include <boost/unordered/unordered_flat_map.hpp>
#define PEER_BOOST 1
#elif defined(HAVE_ABSL)
#include <absl/container/flat_hash_map.h>
#define PEER_ABSL 1
#endif

namespace {

constexpr size_t KEY_BYTES = 16;
constexpr size_t VALUE_BYTES = 100;
// The row as the core stores it: [str 16, bin 100].
constexpr size_t ROW_BYTES = 1 + 1 + KEY_BYTES + 2 + VALUE_BYTES;
constexpr int64_t WAIT_NS = 1'000'000'000;

using Key = std::array<char, KEY_BYTES>;
using Value = std::array<char, VALUE_BYTES>;

// Two multiplications over the whole key: the peer is not to be held up by its hash function.
struct KeyHash {
    using is_avalanching = void;
    size_t operator()(const Key &key) const {
        uint64_t low, high;
        std::memcpy(&low, key.data(), 8);
        std::memcpy(&high, key.data() + 8, 8);
        __uint128_t mixed = static_cast<__uint128_t>(low ^ 0x9E3779B97F4A7C15ull) * (high ^ 0xD6E8FEB86659FD93ull);
        uint64_t folded = static_cast<uint64_t>(mixed) ^ static_cast<uint64_t>(mixed >> 64);
        mixed = static_cast<__uint128_t>(folded) * 0x9E3779B97F4A7C15ull;
        return static_cast<size_t>(static_cast<uint64_t>(mixed) ^ static_cast<uint64_t>(mixed >> 64));
    }
};

#if PEER_BOOST
const char *peer_name = "boost::unordered_flat_map";
using Map = boost::unordered_flat_map<Key, Value, KeyHash>;
#elif PEER_ABSL
const char *peer_name = "absl::flat_hash_map";
using Map = absl::flat_hash_map<Key, Value, KeyHash>;
#else
const char *peer_name = "local open addressing (neither Boost 1.81 nor Abseil found)";

// Linear probing over one byte of tag per slot, at most 7/8 full; as much as the measurement needs.
class Map {
  public:
    struct Slot {
        Key first;
        Value second;
    };
    void reserve(size_t rows) {
        size_t slots = 16;
        while (slots * 7 / 8 < rows) slots *= 2;
        tags_.assign(slots, 0);
        slots_.resize(slots);
    }
    Slot *find(const Key &key) {
        size_t hash = KeyHash{}(key), mask = tags_.size() - 1;
        uint8_t tag = static_cast<uint8_t>(hash >> 57 | 0x80);
        for (size_t at = hash & mask; tags_[at] != 0; at = (at + 1) & mask)
            if (tags_[at] == tag && slots_[at].first == key) return &slots_[at];
        return nullptr;
    }
    Slot *end() { return nullptr; }
    void emplace(const Key &key, const Value &value) {
        size_t hash = KeyHash{}(key), mask = tags_.size() - 1, at = hash & mask;
        while (tags_[at] != 0) at = (at + 1) & mask;
        tags_[at] = static_cast<uint8_t>(hash >> 57 | 0x80);
        slots_[at] = {key, value};
    }

  private:
    std::vector<uint8_t> tags_;
    std::vector<Slot> slots_;
};
#endif

void fail(const char *what, int status) {
    std::fprintf(stderr, "%s: %s\n", what, tmgr_status_text(status));
    std::exit(1);
}

Key key_of(size_t number) {
    char text[32];
    std::snprintf(text, sizeof text, "user%012zu", number);
    Key key;
    std::memcpy(key.data(), text, KEY_BYTES);
    return key;
}

void encode_row(const Key &key, char fill, uint8_t *row) {
    row[0] = 0x92;
    row[1] = 0xA0 | KEY_BYTES;
    std::memcpy(row + 2, key.data(), KEY_BYTES);
    row[2 + KEY_BYTES] = 0xC4;
    row[3 + KEY_BYTES] = VALUE_BYTES;
    std::memset(row + 4 + KEY_BYTES, fill, VALUE_BYTES);
}

template <class Any, class Step> double measure(const std::vector<Any> &keys, Step step) {
    auto start = std::chrono::steady_clock::now();
    for (const Any &key : keys) step(key);
    auto took = std::chrono::steady_clock::now() - start;
    return std::chrono::duration<double, std::nano>(took).count() / static_cast<double>(keys.size());
}

void report(const char *store, const char *operation, double ns) { std::printf("%s\t%s\t%.2f\n", store, operation, ns); }

} // namespace

int main(int argc, char **argv) {
    if (argc != 4) {
        std::fprintf(stderr, "usage: core_bench ROWS ROUNDS SEGMENT\n");
        return 2;
    }
    size_t rows = std::strtoull(argv[1], nullptr, 10);
    int rounds = std::atoi(argv[2]);
    const char *segment = argv[3];

    tmgr_options options{};
    options.access = TMGR_PUBLIC;
    options.mode = 0600;
    options.heir = TMGR_HEIR_NONE;
    tmgr_table *table = nullptr;
    int status = tmgr_create(segment, "core_bench", std::strlen("core_bench"), &options, &table);
    if (status != TMGR_OK) fail("create", status);

    std::vector<Key> keys;
    for (size_t number = 0; number < rows; number++) keys.push_back(key_of(number));
    std::mt19937_64 chance(11);
    std::shuffle(keys.begin(), keys.end(), chance);

    Map map;
    map.reserve(rows);
    Value value;
    uint8_t row[ROW_BYTES];
    for (const Key &key : keys) {
        value.fill('a');
        map.emplace(key, value);
        encode_row(key, 'a', row);
        if ((status = tmgr_insert(table, row, sizeof row, WAIT_NS)) != TMGR_OK) fail("insert", status);
    }

    tmgr_buffer found{};
    // Keys as each store takes them, made before the clock runs: a key put together from two stores and read at once
    // across both stalls the processor until all that went before is done, which is not what is asked here.
    using Encoded = std::array<uint8_t, 1 + KEY_BYTES>;
    std::vector<Encoded> encoded(rows);
    uint64_t checksum = 0;
    for (int round = 0; round < rounds; round++) {
        std::shuffle(keys.begin(), keys.end(), chance);
        char fill = static_cast<char>('b' + round % 20);

        report(peer_name, "find", measure(keys, [&](const Key &key) {
                   Value out = map.find(key)->second;
                   asm volatile("" : : "r"(out.data()) : "memory");
                   checksum += static_cast<uint8_t>(out[0]);
               }));
        for (size_t i = 0; i < rows; i++) {
            encoded[i][0] = 0xA0 | KEY_BYTES;
            std::memcpy(encoded[i].data() + 1, keys[i].data(), KEY_BYTES);
        }
        report("tablemgr", "find", measure(encoded, [&](const Encoded &key) {
                   if (tmgr_lookup(table, key.data(), key.size(), &found) != TMGR_OK) fail("lookup", TMGR_ABSENT);
                   checksum += found.data[4 + KEY_BYTES];
               }));
        std::shuffle(keys.begin(), keys.end(), chance);
        report(peer_name, "overwrite", measure(keys, [&](const Key &key) {
                   std::memset(map.find(key)->second.data(), fill, VALUE_BYTES);
                   asm volatile("" : : : "memory");
               }));
        report("tablemgr", "overwrite", measure(keys, [&](const Key &key) {
                   encode_row(key, fill, row);
                   int result = tmgr_insert(table, row, sizeof row, WAIT_NS);
                   if (result != TMGR_OK) fail("overwrite", result);
               }));
    }
    tmgr_buffer_free(&found);
    tmgr_drop(table, true);
    tmgr_free(table);
    return checksum == 0; // used, so that no copy is optimised away
}
