/* SPDX-License-Identifier: Apache-2.0 */
/* main.c - kills a process after every instruction of an operation that makes a difference, and the one that mends what
 * it left likewise, and looks at what is there then. stages.c says how a case goes. */
#include "run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static const char help[] =
    "usage: crash [--case NAME|all] [--seed N] [--kills N] [--repairs N] [--stops N] [--watch N] [--failures N]\n"
    "             [--every] [--k K [--next NAME] [--j J]] [--cpu N] [--list]\n"
    "  --case NAME    one of --list; all\n"
    "  --seed N       of the prepared tables and of every sample; 1\n"
    "  --kills N      at most so many kills of the operation per case; 0: all that are listed below\n"
    "  --repairs N    at most so many of what follows a death, per case; 0: all that are listed below\n"
    "  --every        after every single instruction, those that leave what others have left included (hours)\n"
    "  --stops N      so many SIGSTOPs per case; 40\n"
    "  --watch N      a reader looks after every N instructions, and every 16 N of what follows a death; 1; 0: not\n"
    "  --failures N   a case ends after so many; 5\n"
    "  --k K          only the kill after K instructions, and what follows it\n"
    "  --next NAME    only this operation after the death\n"
    "  --j J          only its kill after J instructions\n"
    "  --cpu N        processor to run on\n"
    "Without --kills, --repairs and --every a child is killed\n"
    "  - before each instruction that the operation executes, at least once per case;\n"
    "  - after each instruction that changed a byte of the segment, a name in /dev/shm or the list of robust locks, "
    "and\n"
    "    after each system call (the line of a case counts them as changes). Left out are changes by an instruction "
    "in\n"
    "    its 65th round and later, beyond a sample of 60 per case and stage: that is copying a row (skipped);\n"
    "  - and after some that changed nothing, to see that these leave what the one before has left.\n"
    "For each different state that these kills left, the same is done to each operation that may follow, but for what\n"
    "the kill of such an operation would leave a second time in the same case; and where it does, instruction by\n"
    "instruction and store by store, what it did after another death, it is not killed again (alike), nor where it "
    "has\n"
    "come, registers, stack and heap included, to where another one was (joined). Where it was alike after deaths in "
    "six\n"
    "rounds of one instruction, one in eight of the later rounds is followed (the others are passed).\n"
    "Between the instructions that are killed at, a kill leaves what the one before has left.\n";

int main(int argc, char **argv) {
    struct options options = options_parse(argc, argv, help);
    struct shared *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) {
        perror("mmap");
        return 3;
    }
    options_pin(&options);
    size_t failures = 0, n_run = 0;
    for (size_t i = 0; i < n_crash_cases; i++) {
        if (options.list)
            puts(crash_cases[i].name);
        else if (strcmp(options.name, "all") == 0 || strcmp(options.name, crash_cases[i].name) == 0)
            failures += run_case(&options, &crash_cases[i], shared);
        else
            continue;
        n_run++;
    }
    if (n_run == 0) {
        fprintf(stderr, "crash: no case %s: see --list\n", options.name);
        return 2;
    }
    return failures ? 1 : 0;
}
