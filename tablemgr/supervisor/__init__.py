# SPDX-License-Identifier: Apache-2.0
"""Running worker processes and bringing back those that die, with their tables in hand: OTP's supervisor.

`child` says what there is to run, `worker` is what runs in a child's process, `running` one child's process as its
parent sees it, `family` all of them and the strategies, `signals` what SIGTERM and SIGINT mean meanwhile, `supervisor`
what is called, `events` what it tells. A worker imports the first two alone: that is time between a death and a table.
"""
