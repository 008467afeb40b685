/* SPDX-License-Identifier: Apache-2.0 */
#include "kills.h"

#include <signal.h>
#include <sys/wait.h>

uint64_t kill_countdown;
int kill_signal = SIGKILL;
bool kill_counts_relaxed;
uintptr_t kill_base, kill_bytes;

int end_of_child(pid_t child) {
    int how = 0;
    if (child < 0 || waitpid(child, &how, 0) != child)
        return LOST;
    if (WIFSIGNALED(how))
        return WTERMSIG(how) == SIGKILL ? KILLED : LOST;
    return WEXITSTATUS(how);
}
