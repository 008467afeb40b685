/* SPDX-License-Identifier: Apache-2.0 */
/* test_owner_changes.c - what a call sees, or does, when the owner changes options, or dies, between any two of its loads.
 *
 * Compiled with -include load_hooks.h. Each call is made again and again, with the event before its first load, behind it, and
 * so on, until the call ends before the event comes. */
#include "tablemgr.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

enum {
    WAIT_NS = 1000 * 1000 * 1000,
    CHANGES = 4 /* after so many the owner word is what it was (layout.h, RECORDS) */
};

static const uint8_t row[] = {0x92, 1, 7}, new_row[] = {0x92, 2, 7}, key[] = {1};

uint64_t load_countdown;
void (*load_event)(void);
static bool happened;

static char segment[64];

/* -- an owner in a process of its own, which names an heir and dies ------------------------------------------------------- */

static struct owner {
    pid_t pid;
    int said[2], asked[2];
} owner;

/* Makes the table, without an heir; told to, names the manager and dies. */
static void be_owner(void) {
    struct tmgr_options options = {.access = TMGR_PUBLIC, .mode = 0600, .n_stripes = 1, .heir = TMGR_HEIR_NONE};
    struct tmgr_table *table;
    char byte = 0;
    bool made = tmgr_create(segment, "t", 1, &options, &table) == TMGR_OK &&
                tmgr_insert(table, row, sizeof row, WAIT_NS) == TMGR_OK;
    if (!made || write(owner.said[1], &byte, 1) != 1 || read(owner.asked[0], &byte, 1) != 1)
        _exit(1);
    options.heir = TMGR_HEIR_MANAGER;
    if (tmgr_setopts(table, TMGR_CHANGE_HEIR, &options, WAIT_NS) != TMGR_OK)
        _exit(1);
    raise(SIGKILL);
}

static void owner_begins(void) {
    char byte;
    CHECK(pipe(owner.said) == 0 && pipe(owner.asked) == 0);
    owner.pid = fork();
    if (owner.pid == 0)
        be_owner();
    CHECK(owner.pid > 0 && read(owner.said[0], &byte, 1) == 1);
}

static void owner_names_an_heir_and_dies(void) {
    int how = 0;
    happened = true;
    CHECK(write(owner.asked[1], "", 1) == 1);
    CHECK(waitpid(owner.pid, &how, 0) == owner.pid && WIFSIGNALED(how) && WTERMSIG(how) == SIGKILL);
}

static void owner_ends(void) {
    bool happened_before = happened;
    if (!happened)
        owner_names_an_heir_and_dies();
    happened = happened_before;
    for (int i = 0; i < 2; i++) {
        close(owner.said[i]);
        close(owner.asked[i]);
    }
}

/* What may be called meanwhile; *table: attached beforehand, or NULL. */
static int attach(struct tmgr_table **table) { return tmgr_attach(segment, TMGR_MAP_WRITE, table); }
static int find(struct tmgr_table **table) {
    struct tmgr_buffer out = {0};
    int status = tmgr_lookup(*table, key, sizeof key, &out);
    tmgr_buffer_free(&out);
    return status;
}
static int insert(struct tmgr_table **table) { return tmgr_insert(*table, new_row, sizeof new_row, WAIT_NS); }
static int describe(struct tmgr_table **table) {
    struct tmgr_info info;
    int status = tmgr_describe(*table, &info);
    CHECK(info.owner_alive == 1 || info.heir == TMGR_HEIR_MANAGER);
    return status;
}
static int settle(struct tmgr_table **table) {
    int status = tmgr_settle(*table, NULL, WAIT_NS);
    while (status == TMGR_BUSY) /* the owner has changed something: look again */
        status = tmgr_settle(*table, NULL, WAIT_NS);
    return status == TMGR_OWNED || status == TMGR_ABSENT ? TMGR_OK : status;
}
static int claim(struct tmgr_table **table) {
    int status = tmgr_claim(*table, TMGR_CLAIM_ORPHAN, NULL, WAIT_NS);
    while (status == TMGR_BUSY)
        status = tmgr_claim(*table, TMGR_CLAIM_ORPHAN, NULL, WAIT_NS);
    return status == TMGR_OWNED ? TMGR_OK : status;
}

/* The manager is the heir of whoever dies here, so nobody may take the table for one that goes with its owner. */
static void nobody_takes_it_for_one_without_an_heir(int (*call)(struct tmgr_table **table)) {
    happened = true;
    for (uint64_t nth = 1; happened; nth++) {
        struct tmgr_table *table = NULL, *later = NULL;
        owner_begins();
        if (call != attach)
            CHECK(attach(&table) == TMGR_OK);
        happened = false;
        load_event = owner_names_an_heir_and_dies;
        load_countdown = nth;
        int status = call(&table);
        load_countdown = 0;
        CHECK(status == TMGR_OK);
        owner_ends();
        CHECK(tmgr_attach(segment, TMGR_MAP_WRITE, &later) == TMGR_OK && find(&later) == TMGR_OK);
        if (later != NULL)
            CHECK(tmgr_drop(later, true) == TMGR_OK);
        tmgr_free(later);
        tmgr_free(table);
    }
}

/* -- one owner, several threads of which change options --------------------------------------------------------------------- */

static struct tmgr_table *owned;
static uint8_t letter; /* of the heir's data as they were set last */
static bool heir_changed;

static int set_data(void) {
    uint8_t data[TMGR_DATA_MAX];
    uint8_t next = (uint8_t)(letter + 1);
    memset(data, next, sizeof data);
    struct tmgr_options options = {.heir = TMGR_HEIR_MANAGER, .heir_data = data, .heir_data_len = sizeof data};
    int status = tmgr_setopts(owned, TMGR_CHANGE_HEIR, &options, 0);
    letter = status == TMGR_OK ? next : letter;
    return status;
}

/* Another thread's, for all that the core can see. BUSY: the call has the lock, and is beyond what could mix. */
static void data_changes_so_often_that_the_word_is_the_same(void) {
    happened = true;
    for (int i = 0; i < CHANGES; i++) {
        int status = set_data();
        CHECK(status == TMGR_OK || (i == 0 && status == TMGR_BUSY));
        if (status != TMGR_OK)
            break;
    }
}

static void heir_changes_so_often_that_the_word_is_the_same(void) {
    struct tmgr_options options = {.heir = TMGR_HEIR_PROCESS, .heir_process = {.pid = (uint32_t)getppid()}};
    int status = TMGR_OK;
    for (int i = 0; i < CHANGES && status == TMGR_OK; i++)
        status = tmgr_setopts(owned, TMGR_CHANGE_HEIR, &options, 0);
    CHECK(status == TMGR_OK || status == TMGR_BUSY);
    happened = true;
    heir_changed = status == TMGR_OK;
}

static bool data_are_of_one_letter(const struct tmgr_info *info) {
    for (size_t i = 1; i < TMGR_DATA_MAX; i++)
        if (info->heir_data[i] != info->heir_data[0])
            return false;
    return info->heir_data_len == TMGR_DATA_MAX;
}

static void begin_owned(uint64_t nth) {
    struct tmgr_options options = {.access = TMGR_PUBLIC, .mode = 0600, .n_stripes = 1, .heir = TMGR_HEIR_MANAGER};
    CHECK(tmgr_create(segment, "t", 1, &options, &owned) == TMGR_OK && set_data() == TMGR_OK);
    happened = false;
    load_event = data_changes_so_often_that_the_word_is_the_same;
    load_countdown = nth;
}

static void end_owned(void) {
    CHECK(tmgr_drop(owned, true) == TMGR_OK);
    tmgr_free(owned);
}

static void test_what_is_read_of_an_owner_is_of_one_moment(void) {
    happened = true;
    for (uint64_t nth = 1; happened; nth++) {
        struct tmgr_info info;
        begin_owned(nth);
        CHECK(tmgr_describe(owned, &info) == TMGR_OK && data_are_of_one_letter(&info));
        load_countdown = 0;
        end_owned();
    }
}

static void test_no_change_undoes_another(void) {
    happened = true;
    for (uint64_t nth = 1; happened; nth++) {
        struct tmgr_options options = {.access = TMGR_PRIVATE};
        struct tmgr_info info;
        begin_owned(nth);
        int status = tmgr_setopts(owned, TMGR_CHANGE_ACCESS, &options, WAIT_NS);
        load_countdown = 0;
        if (status == TMGR_BUSY) /* the caller asks again */
            status = tmgr_setopts(owned, TMGR_CHANGE_ACCESS, &options, WAIT_NS);
        CHECK(status == TMGR_OK && tmgr_describe(owned, &info) == TMGR_OK);
        CHECK(info.access == TMGR_PRIVATE && info.heir_data[0] == letter && data_are_of_one_letter(&info));
        end_owned();
    }
}

static void test_new_data_leave_the_heir_as_it_is(void) {
    happened = true;
    for (uint64_t nth = 1; happened; nth++) {
        struct tmgr_options options = {.heir = TMGR_HEIR_MANAGER, .heir_data = "\xa4word", .heir_data_len = 5};
        struct tmgr_info info;
        begin_owned(nth);
        load_event = heir_changes_so_often_that_the_word_is_the_same;
        heir_changed = false;
        int status = tmgr_setopts(owned, TMGR_CHANGE_HEIR_DATA, &options, WAIT_NS);
        load_countdown = 0;
        if (status == TMGR_BUSY) /* the caller asks again */
            status = tmgr_setopts(owned, TMGR_CHANGE_HEIR_DATA, &options, WAIT_NS);
        CHECK(status == TMGR_OK && tmgr_describe(owned, &info) == TMGR_OK);
        CHECK(info.heir == (heir_changed ? TMGR_HEIR_PROCESS : TMGR_HEIR_MANAGER));
        end_owned();
    }
}

int main(void) {
    snprintf(segment, sizeof segment, "/tablemgr-test.owner.%d", (int)getpid());
    nobody_takes_it_for_one_without_an_heir(attach);
    nobody_takes_it_for_one_without_an_heir(find);
    nobody_takes_it_for_one_without_an_heir(insert);
    nobody_takes_it_for_one_without_an_heir(describe);
    nobody_takes_it_for_one_without_an_heir(settle);
    nobody_takes_it_for_one_without_an_heir(claim);
    test_what_is_read_of_an_owner_is_of_one_moment();
    test_no_change_undoes_another();
    test_new_data_leave_the_heir_as_it_is();
    return check_summary();
}
