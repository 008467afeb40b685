"""Which test states which row of what other table keepers do: etsmgr, Blanket, Immortal, Eternal, Vinoski's pattern,
Erlang's owners and heirs, what users met, and what a port to processes has to decide. This test keeps the list true."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]

# Section of ets.md: row -> tests, as FILE:NAME; the file is one of tests/manager unless it has a folder.
ROWS: dict[str, dict[str, str]] = {
    "1.3 new_table": {
        "no entry: made": "test_inheritance:test_a_fresh_table_is_not_inherited",
        "it cannot be made": "test_etsmgr_rows:test_a_table_that_cannot_be_made_leaves_no_entry",
        "dead entry": "test_defects_of_others:test_a_dropped_table_leaves_no_dead_entry",
        "owner is the manager": "test_inheritance:test_the_manager_inherits_when_the_owner_is_killed",
        "owner is the caller": "test_inheritance:test_new_table_twice_by_the_same_process_is_the_same_table",
        "owner is anybody else": "test_inheritance:test_a_live_owner_is_named",
        "another type": "test_defects_of_others:test_asking_for_a_bag_is_not_answered_with_a_set",
        "another keypos, codec": "test_inheritance:test_asking_for_another_kind_of_table_is_an_error",
        "other options": "test_etsmgr_rows:test_what_is_no_kind_of_table_is_taken_from_the_table_or_set_anew",
        "the heir is set": "test_inheritance:test_a_restarted_worker_gets_all_its_rows",
        "the heir cannot be set": "test_etsmgr_rows:test_a_claim_that_fails_later_changes_nothing",
        "the transfer is told": "test_inheritance:test_the_transfer_says_who_when_and_with_what_word",
        "restart or conflict": "test_inheritance:test_a_successor_is_never_told_that_a_dead_process_owns_its_table",
    },
    "1.4 add_table": {
        "caller owns it": "test_membership:test_an_added_table_survives_its_owner",
        "manager owns it": "test_membership:test_adding_an_orphan_makes_it_the_callers",
        "other owner": "test_membership:test_somebody_elses_table_cannot_be_added",
        "no such table": "test_membership:test_a_dropped_table_cannot_be_added",
        "dead entry": "test_etsmgr_rows:test_a_table_made_anew_under_a_dropped_ones_name_is_added",
        "another table under the name": "test_etsmgr_rows:test_a_name_is_one_table_and_a_table_has_one_name",
        "again": "test_membership:test_adding_twice_is_adding",
        "a name instead of a table": "test_membership:test_a_name_cannot_be_added",
        "under two names": "test_etsmgr_rows:test_a_name_is_one_table_and_a_table_has_one_name",
        "no transfer is told": "test_etsmgr_rows:test_adding_ones_own_table_tells_of_no_transfer",
    },
    "1.5 del_table": {
        "no entry": "test_membership:test_what_is_not_managed_cannot_be_deleted",
        "by the owner": "test_membership:test_a_deleted_table_stays_with_its_owner_and_goes_with_it",
        "dead entry": "test_etsmgr_rows:test_a_dropped_table_has_no_entry_to_delete",
        "by a third process": "test_defects_of_others:test_a_third_process_deletes_nobodys_entry",
        "of an orphan": "test_membership:test_only_the_owner_may_end_management",
        "the heir is cleared": "test_defects_of_others:test_the_table_of_a_deleted_entry_is_nobodys_for_ever",
        "counts": "test_defects_of_others:test_registering_again_and_again_costs_one_deletion",
    },
    "1.7 crashes": {
        "client, for any reason": "test_etsmgr_rows:test_however_a_client_ends_its_table_is_kept_with_every_row",
        "client restarts": "test_inheritance:test_a_restarted_worker_gets_all_its_rows",
        "manager, clients live": "test_etsmgr_rows:test_a_manager_that_ends_takes_nobody_and_nothing_with_it",
        "manager, with orphans": "test_defects_of_others:test_clients_and_orphans_outlive_the_manager",
        "manager restarts": "test_manager_killed:test_a_successor_finds_owners_and_orphans_again",
        "manager stops": "test_daemon:test_a_signal_ends_it_cleanly",
        "meanwhile": "test_manager_killed:test_owners_that_died_while_no_manager_ran_are_settled_at_its_start",
        "instances": "test_daemon:test_instances_do_not_know_of_each_other",
        "waiting for one": "test_daemon:test_waiting_for_a_manager_ends_with_its_start_or_its_time",
    },
    "2.2 Blanket's calls": {
        "claim": "test_claiming:test_the_first_claim_creates_and_populates_the_next_one_takes_over",
        "already owned": "test_claiming:test_a_second_claim_is_refused_also_to_the_owner",
        "monitor": "test_claiming:test_a_claim_consumes_its_transfer",
        "what create is": "test_claiming:test_what_create_must_return",
        "create is not called": "test_etsmgr_rows:test_create_and_populate_are_not_called_for_an_orphan",
        "its heir does not count": "test_claiming:test_the_heir_that_create_chose_does_not_count",
        "populate fails": "test_claiming:test_a_populate_that_raises_leaves_no_table",
        "killed in populate": "test_claiming:test_who_is_killed_while_it_populates_leaves_no_table",
        "recover_heir": "test_etsmgr_rows:test_after_a_managers_death_nothing_has_to_be_recovered",
        "abandon": "test_claiming:test_an_abandoned_table_goes_with_its_owner",
        "abandon what is gone": "test_etsmgr_rows:test_what_is_gone_cannot_be_abandoned",
    },
    "2.3 its heirs": {
        "no owner, or no claim": "test_etsmgr_rows:test_a_table_is_claimed_from_its_heir_only_when_it_has_no_owner",
        "death before transfer": "test_events:test_a_successor_is_told_how_its_predecessor_ended",
        "heir dies": "test_etsmgr_rows:test_after_a_managers_death_nothing_has_to_be_recovered",
        "heir dies with the table": "test_etsmgr_rows:test_owner_and_manager_killed_at_once_lose_nothing",
    },
    "2.4, 2.5 defects and tests": {
        "claimed again": "test_etsmgr_rows:test_an_abandoned_and_dropped_table_is_claimed_anew",
        "counter": "test_etsmgr_rows:test_blankets_counter_survives_owners_and_managers",
    },
    "3 Immortal": {
        "push": "test_keeper:test_a_table_goes_to_every_process_of_the_name",
        "options, private": "test_keeper:test_the_consumer_is_told_as_of_a_gift",
        "busy wait": "test_keeper:test_waiting_for_a_consumer_costs_nothing_to_speak_of",
        "no consumer": "test_ownership_rows:test_a_keeper_does_not_wait_for_its_consumer_to_start",
        "the race": "test_keeper:test_a_consumer_that_dies_at_once_loses_nothing",
        "keeper dies": "test_keeper:test_a_keeper_that_dies_is_followed_by_another",
    },
    "4 Eternal": {
        "start twice": "test_ownership_rows:test_starting_twice_gives_what_is_there",
        "without link": "test_ownership_rows:test_a_table_outlives_the_short_life_of_its_creator",
        "both die": "test_etsmgr_rows:test_owner_and_manager_killed_at_once_lose_nothing",
        "stop": "test_ownership_rows:test_stopping_the_keeper_of_tables_stops_no_table",
        "log": "test_service:test_what_happens_to_tables_is_a_line_each",
    },
    "5.1 etsgive": {
        "20 kills": "test_ownership_rows:test_a_keepers_table_survives_twenty_kills",
        "any reason": "test_etsmgr_rows:test_however_a_client_ends_its_table_is_kept_with_every_row",
        "dies between": "test_defects_of_others:test_a_receiver_that_dies_at_once_loses_nothing",
    },
    "6.5 owners": {
        "no heir": "test_inheritance:test_a_table_without_heir_goes_with_its_owner",
        "live heir": "test_inheritance:test_a_live_heir_process_gets_the_table_not_the_manager",
        "pid reuse": "test_ownership_rows:test_a_process_with_a_dead_ones_pid_is_not_that_process",
        "transfer before death": "test_events:test_an_heir_is_told_of_every_table_before_any_death",
        "creation order": "test_defects_of_others:test_transfers_of_many_tables_keep_their_order",
        "after it": "test_ownership_rows:test_after_an_inheritance_the_manager_is_the_heir",
        "private": "test_defects_of_others:test_a_dead_owners_private_table_is_read_by_nobody",
        "heir dies first": "test_inheritance:test_a_table_whose_heir_died_first_falls_to_the_manager",
        "heir is the owner": "test_ownership_rows:test_an_owner_that_is_its_own_heir_leaves_an_orphan",
        "traversals of the dead": "sharing/test_ets_history:test_a_traversal_that_never_ends_holds_nothing",
        "give_away": "table/test_ownership:test_give_away_makes_another_process_the_owner",
        "give_away, heir": "test_ownership_rows:test_a_gift_leaves_heir_and_access_as_they_were",
        "give_away, back": "test_defects_of_others:test_an_owner_that_names_itself_gets_what_it_gave_back",
        "give_away, refused": "table/test_ownership:test_give_away_refuses_what_cannot_receive",
        "setopts": "table/test_ownership:test_setopts_changes_heir_data_and_access",
        "setopts, refused": "test_ownership_rows:test_what_setopts_refuses_changes_nothing",
        "dropped by others": "test_ownership_rows:test_who_drops_anothers_public_table_tells_nobody",
        "death in others' calls": "sharing/test_ets_history:test_a_list_is_whole_when_the_owner_dies",
    },
    "8 what users met": {
        "1, 2": "test_keeper:test_a_consumer_that_dies_at_once_loses_nothing",
        "7, 24": "test_ownership_rows:test_starting_twice_gives_what_is_there",
        "12": "test_inheritance:test_a_successor_is_never_told_that_a_dead_process_owns_its_table",
        "13": "sharing/test_ets_history:test_a_bag_keeps_its_order_through_growth_and_lists",
        "21": "test_ownership_rows:test_a_list_of_tables_is_made_while_they_come_and_go",
        "22": "test_ownership_rows:test_a_table_outlives_the_short_life_of_its_creator",
        "23": "test_recovery:test_a_worker_goes_on_from_its_last_good_state",
        "26": "sharing/test_processes:test_nothing_is_registered_with_the_resource_tracker",
        "27 attachments": "test_ownership_rows:test_thousands_of_attachments_leave_nothing",
        "27 writers": "test_ownership_rows:test_twenty_writers_attach_at_once",
        "28 zombies": "test_defects_of_others:test_a_zombie_owns_nothing",
    },
    "10 what a port decides": {
        "1 fork": "test_defects_of_others:test_a_forked_child_does_not_own_its_parents_table",
        "1 pid reuse": "test_ownership_rows:test_a_process_with_a_dead_ones_pid_is_not_that_process",
        "2 order": "test_events:test_an_heir_is_told_of_every_table_before_any_death",
        "3 dead owner": "test_defects_of_others:test_a_dead_owners_private_table_is_read_by_nobody",
        "5 racing creators": "test_inheritance:test_of_racing_creators_exactly_one_creates",
        "6 copies": "test_ownership_rows:test_what_was_inserted_is_a_copy",
        "9 mailbox": "test_events:test_a_gift_is_told_to_its_receiver_once",
        "9 unread": "test_events:test_events_wait_for_a_stopped_process_and_a_dead_manager",
        "10 traversals": "sharing/test_ets_history:test_a_traversal_that_never_ends_holds_nothing",
        "11 total crash": "test_ownership_rows:test_after_everybody_was_killed_it_begins_where_it_ended",
        "11 removed": "sharing/test_removed:test_a_removed_table_is_linked_back_with_all_that_it_is",
        "11 containers": "test_users:test_the_same_pid_elsewhere_is_not_the_owner",
    },
}


@cache
def names_in(file: str) -> frozenset[str]:
    """The names of the tests of a file."""
    path = TESTS / f"{file if '/' in file else f'manager/{file}'}.py"
    return frozenset(node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef))


@pytest.mark.parametrize("section", ROWS)
def test_each_row_has_its_test(section: str) -> None:
    """By a name that is there."""
    for row, test in ROWS[section].items():
        file, _, name = test.partition(":")
        assert name in names_in(file), f"{row}: {test}"
