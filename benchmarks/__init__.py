# SPDX-License-Identifier: Apache-2.0
"""Benchmarks of tablemgr: one question per file, every store behind one interface. See README.md beside this file."""
