/* SPDX-License-Identifier: Apache-2.0 */
/* test_relink.c - a removed table is given its name back by a process that dies before one store of it, and others carry on.
 *
 * Compiled with -include kill_hooks.h. Every atomic store counts, wherever it is made: those into the copy come in between
 * those into the segment. */
#include "kills.h"
#include "model.h"
#include "tablemgr.h"

#include <dirent.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

enum { ROWS = 300, MANY_ROWS = 20000, NEW_ID = 70000, LAST_ID = 80000, SHORT_WAIT_NS = 2 * 1000 * 1000 };

static char segment[64], path[96];

static const struct kind {
    uint32_t type, n_stripes;
} kinds[] = {{TMGR_SET, 1}, {TMGR_SET, 4}, {TMGR_ORDERED_SET, 1}, {TMGR_DUPLICATE_BAG, 2}};

struct scene {
    struct tmgr_table *table, *other, *reader;
    struct model model;
};

static int insert(struct tmgr_table *table, uint64_t id) {
    uint8_t row[100 + ROW_OVERHEAD_MAX];
    return tmgr_insert(table, row, row_encode(row, id, 1, 100), WAIT_NS);
}

static void begin(struct scene *scene, const struct kind *kind) {
    struct tmgr_options options = {.type = kind->type,
                                   .access = TMGR_PUBLIC,
                                   .mode = 0600,
                                   .n_stripes = kind->n_stripes,
                                   .heir = TMGR_HEIR_MANAGER};
    memset(scene, 0, sizeof *scene);
    model_init(&scene->model);
    scene->model.type = kind->type;
    CHECK(tmgr_create(segment, "t", 1, &options, &scene->table) == TMGR_OK);
    CHECK(tmgr_attach(segment, TMGR_MAP_AUTO, &scene->other) == TMGR_OK);
    CHECK(tmgr_attach(segment, TMGR_MAP_READ, &scene->reader) == TMGR_OK);
    for (uint64_t id = 0; id < ROWS; id++) {
        CHECK(insert(scene->table, id) == TMGR_OK);
        model_put(&scene->model, id, 1, 100);
    }
}

static void end(struct scene *scene) {
    CHECK(tmgr_drop(scene->table, true) == TMGR_OK);
    tmgr_free(scene->table);
    tmgr_free(scene->other);
    tmgr_free(scene->reader);
    model_free(&scene->model);
    CHECK(access(path, F_OK) != 0);
}

static int relink(struct tmgr_table *table) { return tmgr_relink(table, WAIT_NS); }
static int insert_last(struct tmgr_table *table) { return insert(table, LAST_ID); }

/* A child makes the call and dies before its store number nth: KILLED, or the status of the call. */
static int call_and_die(int (*call)(struct tmgr_table *table), struct tmgr_table *table, uint64_t nth) {
    pid_t child = fork();
    if (child == 0) {
        alarm(CHILD_SECONDS);
        kill_bytes = UINTPTR_MAX;
        kill_countdown = nth;
        int status = call(table);
        kill_countdown = 0;
        _exit(status);
    }
    return end_of_child(child);
}

static int drop(struct tmgr_table *table) { return tmgr_drop(table, false); }

/* A child makes the call and stops before its store number nth: true, and it is to be resumed. */
static bool call_and_stop(int (*call)(struct tmgr_table *table), struct tmgr_table *table, uint64_t nth, pid_t *child,
                          int *status) {
    int how = 0;
    *child = fork();
    if (*child == 0) {
        alarm(CHILD_SECONDS);
        kill_bytes = UINTPTR_MAX;
        kill_signal = SIGSTOP;
        kill_countdown = nth;
        _exit(call(table));
    }
    CHECK(*child > 0 && waitpid(*child, &how, WUNTRACED) == *child);
    *status = WIFEXITED(how) ? WEXITSTATUS(how) : LOST;
    return WIFSTOPPED(how);
}

/* To its end: the status of the call. */
static int resume(pid_t child) {
    int how = 0;
    CHECK(kill(child, SIGCONT) == 0 && waitpid(child, &how, 0) == child);
    return WIFEXITED(how) ? WEXITSTATUS(how) : LOST;
}

static uint64_t rows_of(struct tmgr_table *table) {
    uint64_t rows = 0;
    CHECK(tmgr_len(table, &rows) == TMGR_OK);
    return rows;
}

/* All handles are on one table, which has its name, all rows, and whatever one of them writes from now on. */
static void expect_one_table(struct scene *scene, uint64_t new_id) {
    struct tmgr_table *handles[] = {scene->reader, scene->table, scene->other}, *fresh = NULL;
    char problem[PROBLEM_MAX] = "";
    CHECK(tmgr_attach(segment, TMGR_MAP_WRITE, &fresh) == TMGR_OK);
    for (size_t i = 0; i < sizeof handles / sizeof *handles; i++) {
        bool equal = table_equals_model(handles[i], &scene->model, problem);
        CHECK(equal);
        if (!equal)
            fprintf(stderr, "%s\n", problem);
    }
    CHECK(check_is_clean(fresh, false, problem) && check_is_clean(scene->table, true, problem));
    CHECK(insert(scene->table, new_id) == TMGR_OK && insert(scene->other, new_id + 1) == TMGR_OK);
    model_put(&scene->model, new_id, 1, 100);
    model_put(&scene->model, new_id + 1, 1, 100);
    CHECK(rows_of(fresh) == scene->model.count && rows_of(scene->reader) == scene->model.count);
    tmgr_free(fresh);
}

/* True: the child was killed, so there may be more to kill. */
static bool a_relinker_dies(const struct kind *kind, uint64_t nth) {
    struct scene scene;
    begin(&scene, kind);
    CHECK(unlink(path) == 0);
    int status = call_and_die(relink, scene.table, nth);
    CHECK(status == KILLED || status == TMGR_OK);
    bool is_back = access(path, F_OK) == 0;
    CHECK(is_back || status == KILLED);
    if (!is_back) /* so nobody has it, or it is only not linked yet: no third way */
        CHECK(tmgr_relink(scene.other, WAIT_NS) == TMGR_OK);
    expect_one_table(&scene, NEW_ID);
    CHECK(tmgr_relink(scene.table, WAIT_NS) == TMGR_OK); /* nothing to do */
    expect_one_table(&scene, NEW_ID + 2);
    end(&scene);
    return status == KILLED;
}

static void test_a_relinker_may_die_before_any_store(void) {
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        uint64_t nth = 1;
        while (a_relinker_dies(&kinds[i], nth))
            nth++;
        CHECK(nth > 3); /* MOVING, the copy's LIVE, MOVED */
        printf("relink of a table of type %u: killed before %llu stores\n", kinds[i].type, (unsigned long long)nth - 1);
    }
}

/* A second one dies in what the first has left, and a third ends it. */
static void test_relinkers_may_die_one_after_the_other(void) {
    bool killed = true;
    for (uint64_t first = 1; killed; first++) {
        bool again = true;
        for (uint64_t second = 1; again; second++) {
            struct scene scene;
            begin(&scene, &kinds[1]);
            CHECK(unlink(path) == 0);
            killed = call_and_die(relink, scene.table, first) == KILLED;
            again = call_and_die(relink, scene.other, second) == KILLED;
            CHECK(tmgr_relink(scene.table, WAIT_NS) == TMGR_OK);
            expect_one_table(&scene, NEW_ID);
            end(&scene);
        }
    }
}

/* Removed while a dead writer's work is unfinished: that is repaired first, and not copied half done. */
static void test_what_a_dead_writer_left_is_mended(void) {
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        bool killed = true;
        for (uint64_t nth = 1; killed; nth++) {
            struct scene scene;
            uint8_t key[KEY_BYTES_MAX];
            begin(&scene, &kinds[i]);
            killed = call_and_die(insert_last, scene.table, nth) == KILLED;
            CHECK(unlink(path) == 0);
            CHECK(relink(scene.other) == TMGR_OK);
            int status = tmgr_delete(scene.table, key, key_encode(key, LAST_ID), WAIT_NS);
            CHECK(status == TMGR_OK || (killed && status == TMGR_ABSENT));
            expect_one_table(&scene, NEW_ID);
            end(&scene);
        }
    }
}

/* At the next tick of the coarse clock at the latest. */
static void until_noticed(struct tmgr_table *table) {
    uint64_t rows;
    while (tmgr_len(table, &rows) == TMGR_OK)
        sched_yield();
}

/* The name is another table's by now: neither is touched. */
static void test_a_name_that_is_taken_stays_whose_it_is(void) {
    struct scene scene;
    struct tmgr_options options = {.access = TMGR_PUBLIC, .mode = 0600, .heir = TMGR_HEIR_MANAGER};
    struct tmgr_table *squatter;
    uint64_t rows;
    begin(&scene, &kinds[0]);
    CHECK(unlink(path) == 0);
    CHECK(tmgr_create(segment, "t", 1, &options, &squatter) == TMGR_OK);
    until_noticed(scene.reader);
    until_noticed(scene.other);
    for (int i = 0; i < 2; i++) {
        CHECK(tmgr_relink(scene.table, WAIT_NS) == TMGR_TABLE_EXISTS);
        CHECK(tmgr_len(scene.reader, &rows) == TMGR_NO_TABLE && rows_of(squatter) == 0);
        CHECK(insert(scene.other, NEW_ID) == TMGR_NO_TABLE);
    }
    CHECK(tmgr_drop(squatter, true) == TMGR_OK);
    tmgr_free(squatter);
    CHECK(tmgr_relink(scene.other, WAIT_NS) == TMGR_OK);
    expect_one_table(&scene, NEW_ID);
    end(&scene);
}

/* The relinker dies when the name is linked and before the old segment says so: the copy is the table, and what was written to it
 * is not replaced by what was there before, not even for a handle that has slept. */
static void test_an_older_copy_never_takes_the_place_of_a_later_one(void) {
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        struct scene scene;
        uint64_t nth = 0;
        int status;
        do {
            if (nth++ > 0)
                end(&scene);
            begin(&scene, &kinds[i]);
            CHECK(unlink(path) == 0);
            status = call_and_die(relink, scene.table, nth);
            if (access(path, F_OK) != 0)
                CHECK(status == KILLED && tmgr_relink(scene.table, WAIT_NS) == TMGR_OK);
            else
                break;
        } while (status == KILLED);
        CHECK(status == KILLED);
        CHECK(insert(scene.other, NEW_ID) == TMGR_OK);
        model_put(&scene.model, NEW_ID, 1, 100);
        CHECK(unlink(path) == 0);
        CHECK(tmgr_relink(scene.table, WAIT_NS) == TMGR_NO_TABLE && access(path, F_OK) != 0);
        CHECK(tmgr_relink(scene.other, WAIT_NS) == TMGR_OK);
        expect_one_table(&scene, NEW_ID + 1);
        end(&scene);
    }
}

/* It was dropped, and nobody brings it back. */
static void end_dropped(struct scene *scene) {
    CHECK(relink(scene->table) == TMGR_NO_TABLE && relink(scene->other) == TMGR_NO_TABLE);
    CHECK(access(path, F_OK) != 0);
    tmgr_free(scene->table);
    tmgr_free(scene->other);
    tmgr_free(scene->reader);
    model_free(&scene->model);
}

/* True: the relinker was killed, so there may be more to kill. */
static bool a_removed_table_is_dropped(uint64_t nth) {
    struct scene scene;
    begin(&scene, &kinds[1]);
    CHECK(unlink(path) == 0);
    int status = nth == 0 ? KILLED : call_and_die(relink, scene.table, nth);
    CHECK(tmgr_drop(scene.other, false) == TMGR_OK && access(path, F_OK) != 0);
    CHECK(tmgr_drop(scene.table, true) == TMGR_NO_TABLE);
    end_dropped(&scene);
    return status == KILLED;
}

/* Whether nobody has begun to link it back, or has died at any point of it. */
static void test_a_drop_of_a_removed_table_is_for_good(void) {
    uint64_t nth = 0;
    while (a_removed_table_is_dropped(nth))
        nth++;
    CHECK(nth > 3);
}

/* True: the dropper was stopped before a store. Meanwhile the table is removed and, unless the drop is past its commit point,
 * linked back: the drop drops the copy, which is the table, and none of the handles brings anything back. */
static bool a_dropper_is_overtaken(uint64_t nth) {
    struct scene scene;
    pid_t child;
    int status;
    begin(&scene, &kinds[1]);
    bool stopped = call_and_stop(drop, scene.other, nth, &child, &status);
    if (stopped) {
        CHECK(unlink(path) == 0);
        int relinked = relink(scene.table);
        CHECK(relinked == TMGR_OK || relinked == TMGR_NO_TABLE);
        CHECK(insert(scene.table, NEW_ID) == relinked); /* now that handle is on the copy */
        status = resume(child);
    }
    CHECK(status == TMGR_OK && access(path, F_OK) != 0);
    end_dropped(&scene);
    return stopped;
}

static void test_a_dropper_may_be_overtaken_before_any_store(void) {
    uint64_t nth = 1;
    while (a_dropper_is_overtaken(nth))
        nth++;
    CHECK(nth > 1); /* DROPPED */
}

/* A dropper is stopped before a store, the table removed, a relinker stopped before a store of its own; then the dropper goes on,
 * and the relinker. What was dropped is not brought back, and what was not is there. */
static void a_dropper_overtakes_a_relinker(uint64_t drop_nth, uint64_t relink_nth, bool *dropper_stopped,
                                           bool *relinker_stopped) {
    struct scene scene;
    pid_t dropper, relinker;
    int dropped, relinked;
    begin(&scene, &kinds[1]);
    *dropper_stopped = call_and_stop(drop, scene.other, drop_nth, &dropper, &dropped);
    if (*dropper_stopped)
        CHECK(unlink(path) == 0);
    *relinker_stopped = call_and_stop(relink, scene.table, relink_nth, &relinker, &relinked);
    if (*dropper_stopped)
        dropped = resume(dropper);
    if (*relinker_stopped)
        relinked = resume(relinker);
    CHECK(dropped == TMGR_OK || dropped == TMGR_BUSY);
    CHECK(relinked == TMGR_OK || (relinked == TMGR_NO_TABLE && dropped == TMGR_OK));
    if (dropped == TMGR_OK)
        end_dropped(&scene);
    else
        end(&scene);
}

static void test_a_dropper_may_overtake_a_relinker_before_any_store(void) {
    bool dropper_stopped = true;
    for (uint64_t drop_nth = 1; dropper_stopped; drop_nth++) {
        bool relinker_stopped = true;
        for (uint64_t relink_nth = 1; relinker_stopped; relink_nth++)
            a_dropper_overtakes_a_relinker(drop_nth, relink_nth, &dropper_stopped, &relinker_stopped);
    }
}

/* What others do while a relinker is stopped. If the copy has its name they write to it, and it is removed and linked back once
 * more; else they cannot link another one, unless the relinker has not begun. */
static void go_on_beside_a_relinker(struct scene *scene) {
    bool is_back = access(path, F_OK) == 0;
    if (is_back) {
        CHECK(insert(scene->other, LAST_ID) == TMGR_OK);
        model_put(&scene->model, LAST_ID, 1, 100);
        CHECK(unlink(path) == 0);
    }
    int status = tmgr_relink(scene->other, is_back ? WAIT_NS : SHORT_WAIT_NS);
    CHECK(status == TMGR_OK || (status == TMGR_BUSY && !is_back));
    if (status == TMGR_OK) {
        CHECK(insert(scene->other, LAST_ID + 1) == TMGR_OK);
        model_put(&scene->model, LAST_ID + 1, 1, 100);
    }
}

/* True: the relinker was stopped before a store. What was acknowledged meanwhile is there when it has come to its end. */
static bool a_relinker_is_overtaken(const struct kind *kind, uint64_t nth) {
    struct scene scene;
    pid_t child;
    int status;
    begin(&scene, kind);
    CHECK(unlink(path) == 0);
    bool stopped = call_and_stop(relink, scene.table, nth, &child, &status);
    if (stopped) {
        go_on_beside_a_relinker(&scene);
        status = resume(child);
    }
    CHECK(status == TMGR_OK && access(path, F_OK) == 0);
    expect_one_table(&scene, NEW_ID);
    end(&scene);
    return stopped;
}

static void test_a_relinker_may_be_overtaken_before_any_store(void) {
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        uint64_t nth = 1;
        while (a_relinker_is_overtaken(&kinds[i], nth))
            nth++;
        CHECK(nth > 3);
    }
}

/* A handle that has found little room in the address space, so that it maps hardly more than the segment has now. */
static struct tmgr_table *attach_small(void) {
    struct tmgr_table *small = NULL;
    struct rlimit before, little;
    unsigned long pages = 0;
    FILE *statm = fopen("/proc/self/statm", "r");
    CHECK(statm != NULL && fscanf(statm, "%lu", &pages) == 1 && fclose(statm) == 0);
    CHECK(getrlimit(RLIMIT_AS, &before) == 0);
    little = before;
    little.rlim_cur = pages * (rlim_t)sysconf(_SC_PAGESIZE) + (1 << 20);
    CHECK(setrlimit(RLIMIT_AS, &little) == 0);
    CHECK(tmgr_attach(segment, TMGR_MAP_WRITE, &small) == TMGR_OK);
    CHECK(setrlimit(RLIMIT_AS, &before) == 0);
    return small;
}

/* Of the segment, which has grown since, the handle maps a part. */
static void test_a_handle_that_maps_too_little_links_all_of_it_back(void) {
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        struct scene scene;
        begin(&scene, &kinds[i]);
        struct tmgr_table *small = attach_small();
        for (uint64_t id = ROWS; id < MANY_ROWS; id++) {
            CHECK(insert(scene.table, id) == TMGR_OK);
            model_put(&scene.model, id, 1, 100);
        }
        CHECK(unlink(path) == 0);
        CHECK(relink(small) == TMGR_OK && insert(small, LAST_ID) == TMGR_OK);
        model_put(&scene.model, LAST_ID, 1, 100);
        expect_one_table(&scene, NEW_ID);
        tmgr_free(small);
        end(&scene);
    }
}

/* A handle that cannot look says why, and not that there is no table; what is another user's is not followed to. */
static void test_what_a_handle_follows_to(void) {
    struct scene scene;
    struct rlimit before, none;
    uint64_t rows;
    begin(&scene, &kinds[0]);
    CHECK(unlink(path) == 0 && tmgr_relink(scene.table, WAIT_NS) == TMGR_OK);
    CHECK(getrlimit(RLIMIT_NOFILE, &before) == 0);
    none = before;
    none.rlim_cur = 0;
    CHECK(setrlimit(RLIMIT_NOFILE, &none) == 0);
    CHECK(tmgr_len(scene.other, &rows) == TMGR_OS && tmgr_drop(scene.other, true) == TMGR_OS);
    CHECK(setrlimit(RLIMIT_NOFILE, &before) == 0);
    if (geteuid() == 0) {
        CHECK(chown(path, 12345, (gid_t)-1) == 0);
        CHECK(tmgr_len(scene.other, &rows) == TMGR_NO_TABLE && tmgr_len(scene.reader, &rows) == TMGR_NO_TABLE);
        CHECK(chown(path, 0, (gid_t)-1) == 0);
    }
    expect_one_table(&scene, NEW_ID);
    end(&scene);
}

int main(void) {
    snprintf(segment, sizeof segment, "/tablemgr-test.%d.relink", (int)getpid());
    snprintf(path, sizeof path, "/dev/shm%s", segment);
    test_a_relinker_may_die_before_any_store();
    test_relinkers_may_die_one_after_the_other();
    test_what_a_dead_writer_left_is_mended();
    test_a_name_that_is_taken_stays_whose_it_is();
    test_an_older_copy_never_takes_the_place_of_a_later_one();
    test_a_drop_of_a_removed_table_is_for_good();
    test_a_dropper_may_be_overtaken_before_any_store();
    test_a_dropper_may_overtake_a_relinker_before_any_store();
    test_a_relinker_may_be_overtaken_before_any_store();
    test_a_handle_that_maps_too_little_links_all_of_it_back();
    test_what_a_handle_follows_to();
    return check_summary();
}
