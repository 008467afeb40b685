/* SPDX-License-Identifier: Apache-2.0 */
/* test_lifeline.c - a process is known to be dead before the kernel tells of it, and never before it is. */
#include "tablemgr.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

/* What a child says of itself. */
struct said {
    pid_t pid, thread;
    int line;
};

static int to_parent;

static void say(pid_t thread) {
    struct said said = {getpid(), thread, -1};
    if (tmgr_lifeline(&said.line) != TMGR_OK || write(to_parent, &said, sizeof said) != sizeof said)
        _exit(3);
}

static void *wait_for_ever(void *unused) {
    for (;;)
        pause();
    return unused;
}

static void alone(void) {
    say(0);
    wait_for_ever(NULL);
}

static void *say_and_wait(void *unused) {
    say((pid_t)syscall(SYS_gettid));
    return wait_for_ever(unused);
}

static void with_a_thread(void) {
    pthread_t thread;
    pthread_create(&thread, NULL, say_and_wait, NULL);
    wait_for_ever(NULL);
}

/* Blocked in the parent, and so in children from their beginning. */
static sigset_t go_on;

static void wait_for_parent(void) {
    int signal;
    sigwait(&go_on, &signal);
}

/* The main thread ends when the parent says so, another one lives on. */
static void without_main_thread(void) {
    pthread_t thread;
    say(0);
    pthread_create(&thread, NULL, wait_for_ever, NULL);
    wait_for_parent();
    pthread_exit(NULL);
}

static void *only_say(void *unused) {
    say(0);
    return unused;
}

/* Threads that say one after the other, and end. */
static void two_threads_in_turn(void) {
    pthread_t thread;
    for (int i = 0; i < 2; i++) {
        pthread_create(&thread, NULL, only_say, NULL);
        pthread_join(thread, NULL);
        wait_for_parent();
    }
    wait_for_ever(NULL);
}

static void ends_in_order(void) {
    say(0);
    wait_for_parent();
    _exit(7);
}

struct child {
    struct said said;
    struct tmgr_process process;
    const uint8_t *line;
    int pidfd, from;
};

static const uint8_t *line_of(const struct said *said) {
    char path[64];
    const uint8_t *line = NULL;
    snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)said->pid, said->line);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    CHECK(fd >= 0);
    CHECK(tmgr_lifeline_map(fd, &line) == TMGR_OK);
    close(fd);
    return line;
}

static void hear(struct child *child) {
    CHECK(read(child->from, &child->said, sizeof child->said) == sizeof child->said);
    child->line = line_of(&child->said);
}

static struct child begin(void (*program)(void)) {
    int ends[2];
    struct child child = {.pidfd = -1};
    CHECK(pipe(ends) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        close(ends[0]);
        to_parent = ends[1];
        program();
        _exit(3);
    }
    close(ends[1]);
    child.from = ends[0];
    child.pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    child.process.pid = (uint32_t)pid;
    CHECK(child.pidfd >= 0 && tmgr_alive(&child.process));
    hear(&child);
    return child;
}

static void end(struct child *child) {
    int status;
    tmgr_lifeline_unmap(child->line);
    close(child->pidfd);
    close(child->from);
    kill((pid_t)child->process.pid, SIGKILL);
    CHECK(waitpid((pid_t)child->process.pid, &status, 0) == (pid_t)child->process.pid);
}

static bool is_told(const struct child *child) {
    struct pollfd ended = {.fd = child->pidfd, .events = POLLIN, .revents = 0};
    return poll(&ended, 1, 0) == 1;
}

/* Sleeps until the holder of the line has ended. */
static void wait_for_end(const uint8_t *line) {
    uint32_t alarm = 0;
    size_t ended = 1;
    while (ended != 0)
        if (tmgr_lifelines_wait(&line, 1, &alarm, 0, &ended) != TMGR_OK)
            exit(1);
}

/* The threads of a killed process end one by one; this is called when there is nothing else to wait for. */
static void wait_until_dead(struct child *child) {
    while (tmgr_alive(&child->process))
        sched_yield();
}

static void test_a_killed_process(void) {
    struct child child = begin(alone);
    int status = 0;
    CHECK(!tmgr_end(&child.process, &status));
    kill(child.said.pid, SIGKILL);
    wait_for_end(child.line);
    CHECK(!tmgr_alive(&child.process));
    CHECK(tmgr_end(&child.process, &status) && status == SIGKILL);
    end(&child);
}

/* A debugger that has not looked at the end of a thread yet keeps the kernel from telling of the end of the process. */
static void test_dead_before_the_kernel_tells(void) {
    struct child child = begin(with_a_thread);
    int status = 0;
    CHECK(ptrace(PTRACE_SEIZE, child.said.thread, NULL, NULL) == 0);
    kill(child.said.pid, SIGKILL);
    wait_for_end(child.line);
    wait_until_dead(&child);
    CHECK(!is_told(&child));
    CHECK(tmgr_end(&child.process, &status) && status == SIGKILL);
    CHECK(waitpid(child.said.thread, &status, __WALL) == child.said.thread);
    end(&child);
}

static void with_many_threads(void) {
    pthread_t thread;
    for (int i = 0; i < 8; i++)
        pthread_create(&thread, NULL, wait_for_ever, NULL);
    alone();
}

/* While its threads go one by one. */
static void test_who_is_dead_stays_dead(void) {
    for (int i = 0; i < 100; i++) {
        struct child child = begin(with_many_threads);
        kill(child.said.pid, SIGKILL);
        wait_until_dead(&child);
        unsigned long n_alive = 0;
        while (!is_told(&child))
            n_alive += tmgr_alive(&child.process) != 0;
        CHECK(n_alive == 0);
        end(&child);
    }
}

static void test_a_process_without_its_main_thread_lives(void) {
    struct child child = begin(without_main_thread);
    int status = 0;
    kill(child.said.pid, SIGUSR1);
    wait_for_end(child.line);
    for (int i = 0; i < 1000; i++)
        CHECK(tmgr_alive(&child.process) && !tmgr_end(&child.process, &status));
    end(&child);
}

static int execs_left;

static void *start_anew(void *unused) {
    char left[16], descriptor[16];
    snprintf(left, sizeof left, "%d", execs_left - 1);
    snprintf(descriptor, sizeof descriptor, "%d", to_parent);
    execl("/proc/self/exe", "test_lifeline", left, descriptor, NULL);
    return unused;
}

/* So many times its second thread calls exec, by which the main one ends and the other takes its number and place. */
static void come_back(int left) {
    pthread_t thread;
    execs_left = left;
    if (left > 0)
        pthread_create(&thread, NULL, start_anew, NULL);
    else
        say(0);
    wait_for_ever(NULL);
}

static void come_back_500_times(void) {
    say(0);
    wait_for_parent(); /* exec closes what it has shown */
    come_back(500);
}

static void test_a_process_lives_through_exec(void) {
    struct child child = begin(come_back_500_times);
    struct pollfd said = {.fd = child.from, .events = POLLIN, .revents = 0};
    unsigned long n_wrong = 0;
    int status;
    kill(child.said.pid, SIGUSR1);
    wait_for_end(child.line);
    while (poll(&said, 1, 0) == 0)
        n_wrong += !tmgr_alive(&child.process) || tmgr_end(&child.process, &status);
    CHECK(n_wrong == 0);
    tmgr_lifeline_unmap(child.line);
    hear(&child);
    end(&child);
}

static void test_another_thread_takes_over(void) {
    struct child child = begin(two_threads_in_turn);
    wait_for_end(child.line);
    tmgr_lifeline_unmap(child.line);
    kill(child.said.pid, SIGUSR1);
    hear(&child);
    CHECK(tmgr_alive(&child.process));
    wait_for_end(child.line);
    end(&child);
}

static void test_the_status_of_one_that_ended_by_itself(void) {
    struct child child = begin(ends_in_order);
    int status = 0;
    kill(child.said.pid, SIGUSR1);
    wait_for_end(child.line);
    wait_until_dead(&child);
    CHECK(tmgr_end(&child.process, &status) && WIFEXITED(status) && WEXITSTATUS(status) == 7);
    struct tmgr_process later = {child.process.pid, child.process.start + 1};
    CHECK(!tmgr_end(&later, &status));
    end(&child);
    CHECK(!tmgr_end(&child.process, &status));
}

static void test_one_of_many(void) {
    struct child children[5];
    const uint8_t *lines[5];
    uint32_t alarm = 0;
    size_t ended = 5;
    for (size_t i = 0; i < 5; i++) {
        children[i] = begin(alone);
        lines[i] = children[i].line;
    }
    kill(children[3].said.pid, SIGKILL);
    while (ended == 5)
        CHECK(tmgr_lifelines_wait(lines, 5, &alarm, 0, &ended) == TMGR_OK);
    CHECK(ended == 3);
    tmgr_alarm(&alarm);
    lines[3] = lines[4];
    CHECK(tmgr_lifelines_wait(lines, 4, &alarm, 0, &ended) == TMGR_OK && ended == 4); /* rung before */
    CHECK(tmgr_lifelines_wait(lines, TMGR_LIFELINES_MAX + 1, &alarm, 0, &ended) == TMGR_BAD_OPTION);
    for (size_t i = 0; i < 5; i++)
        end(&children[i]);
}

/* Whoever wakes sleepers for nothing is let go of like one that has ended, so that he does it once. */
static void test_a_nuisance(void) {
    struct child child = begin(alone);
    pid_t nuisance = fork();
    if (nuisance == 0)
        for (;;)
            syscall(SYS_futex, child.line, 1 /* FUTEX_WAKE */, 1, NULL, NULL, 0);
    wait_for_end(child.line);
    CHECK(tmgr_alive(&child.process));
    kill(nuisance, SIGKILL);
    CHECK(waitpid(nuisance, NULL, 0) == nuisance);
    end(&child);
}

static void test_what_is_no_lifeline(void) {
    const uint8_t *line;
    int ends[2], plain = memfd_create("plain", MFD_CLOEXEC), file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    CHECK(pipe(ends) == 0 && ftruncate(plain, 4096) == 0);
    CHECK(tmgr_lifeline_map(ends[0], &line) == TMGR_BAD_OPTION);
    CHECK(tmgr_lifeline_map(plain, &line) == TMGR_BAD_OPTION); /* it could be shortened */
    CHECK(tmgr_lifeline_map(file, &line) == TMGR_BAD_OPTION);
    CHECK(tmgr_lifeline_map(-1, &line) == TMGR_BAD_OPTION);
    close(ends[0]);
    close(ends[1]);
    close(plain);
    close(file);
}

/* It has a line of its own; its parent's stays held, and the parent's locks are taken and given back as ever. */
static void test_a_forked_child(void) {
    int mine = -1, again = -1;
    const uint8_t *line = NULL;
    uint32_t alarm = 1;
    size_t ended = 0;
    CHECK(tmgr_lifeline(&mine) == TMGR_OK && tmgr_lifeline(&again) == TMGR_OK && mine == again);
    CHECK(tmgr_lifeline_map(mine, &line) == TMGR_OK);
    struct child child = begin(alone);
    CHECK(memcmp(line, child.line, sizeof(uint32_t)) != 0); /* held by another thread */
    kill(child.said.pid, SIGKILL);
    wait_for_end(child.line);
    end(&child);
    CHECK(tmgr_lifelines_wait(&line, 1, &alarm, 0, &ended) == TMGR_OK && ended == 1);
    tmgr_lifeline_unmap(line);
}

/* In a child of its own: what it does to its descriptors is nobody else's business. 0: all went well. */
static int status_of(int (*program)(void)) {
    int status = -1;
    pid_t pid = fork();
    if (pid == 0) {
        alarm(60);
        _exit(program());
    }
    CHECK(waitpid(pid, &status, 0) == pid);
    return status;
}

static int has_no_descriptors(void) {
    struct rlimit none = {0, 0};
    int line;
    return setrlimit(RLIMIT_NOFILE, &none) == 0 && tmgr_lifeline(&line) != TMGR_OK ? 0 : 1;
}

/* A page cannot be made; what was opened where its descriptor was stays open. */
static int has_no_room(void) {
    struct rlimit none = {0, RLIM_INFINITY};
    int line;
    signal(SIGXFSZ, SIG_IGN);
    if (setrlimit(RLIMIT_FSIZE, &none) != 0 || tmgr_lifeline(&line) == TMGR_OK)
        return 1;
    int mine = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    return mine >= 0 && tmgr_lifeline(&line) != TMGR_OK && fcntl(mine, F_GETFD) >= 0 ? 0 : 1;
}

/* As daemons do: close all, then open something. */
static int closes_all(void) {
    struct stat before, after;
    const uint8_t *page;
    int first, line;
    if (tmgr_lifeline(&first) != TMGR_OK)
        return 1;
    close(first);
    int mine = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    if (mine != first || fstat(mine, &before) != 0 || tmgr_lifeline(&line) != TMGR_OK || fstat(mine, &after) != 0)
        return 2;
    return before.st_ino == after.st_ino && tmgr_lifeline_map(line, &page) == TMGR_OK ? 0 : 3;
}

/* Not even who this is. Before there has been any line. */
static void test_no_line_where_nothing_is_known(void) { CHECK(status_of(has_no_descriptors) == 0); }

static void test_what_happens_to_descriptors(void) {
    CHECK(status_of(has_no_room) == 0);
    CHECK(status_of(closes_all) == 0);
}

static _Atomic bool is_over;

static void *make_a_line(void *unused) {
    int line;
    tmgr_lifeline(&line);
    return unused;
}

static void *make_lines(void *unused) {
    pthread_t thread;
    while (!is_over) { /* each one anew, for the holder of the last has ended */
        pthread_create(&thread, NULL, make_a_line, NULL);
        pthread_join(thread, NULL);
    }
    return unused;
}

static int makes_a_line(void) {
    int line;
    return tmgr_lifeline(&line) == TMGR_OK ? 0 : 1;
}

/* One of the first tests: nothing has opened a table yet. */
static void test_a_child_forked_while_a_line_is_made(void) {
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        pthread_create(&threads[i], NULL, make_lines, NULL);
    int status = 0;
    for (int i = 0; i < 200 && status == 0; i++)
        status = status_of(makes_a_line);
    CHECK(status == 0);
    is_over = true;
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
}

int main(int argc, char **argv) {
    if (argc == 3) {
        to_parent = atoi(argv[2]);
        come_back(atoi(argv[1]));
    }
    alarm(120); /* whatever waits for ever */
    sigemptyset(&go_on);
    sigaddset(&go_on, SIGUSR1);
    sigprocmask(SIG_BLOCK, &go_on, NULL);
    test_no_line_where_nothing_is_known();
    test_a_child_forked_while_a_line_is_made();
    test_what_happens_to_descriptors();
    test_a_killed_process();
    test_dead_before_the_kernel_tells();
    test_who_is_dead_stays_dead();
    test_a_process_without_its_main_thread_lives();
    test_a_process_lives_through_exec();
    test_another_thread_takes_over();
    test_the_status_of_one_that_ended_by_itself();
    test_one_of_many();
    test_a_nuisance();
    test_what_is_no_lifeline();
    test_a_forked_child();
    return check_summary();
}
