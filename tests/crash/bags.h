/* SPDX-License-Identifier: Apache-2.0 */
/* bags.h - cases about the lists of rows that the keys of a bag or duplicate_bag have: each prepares a table, and the
 * operation that changes one list or several. */
#ifndef BAGS_H
#define BAGS_H

#include "setup.h"

void bag_insert(struct setup *setup);
void bag_insert_again(struct setup *setup);
void bag_insert_large(struct setup *setup);
void bag_insert_tidies(struct setup *setup);
void bag_split(struct setup *setup);
void bag_overflow(struct setup *setup);
void bag_delete_row(struct setup *setup);
void bag_delete(struct setup *setup);
void bag_delete_large(struct setup *setup);
void bag_delete_with_trash(struct setup *setup);
void bag_take(struct setup *setup);
void bag_delete_object_newest(struct setup *setup);
void bag_delete_object_between(struct setup *setup);
void bag_delete_object_oldest(struct setup *setup);
void bag_delete_object_only(struct setup *setup);
void bag_replace_some(struct setup *setup);
void bag_replace_deletes(struct setup *setup);
void bag_replace_deletes_all(struct setup *setup);
void bag_apply(struct setup *setup);
void bag_apply_bulk(struct setup *setup);
void bag_apply_one_key(struct setup *setup);
void bag_insert_all_new(struct setup *setup);
void bag_full_apply(struct setup *setup);
void bag_delete_many(struct setup *setup);
void bag_delete_all(struct setup *setup);
void bag_after_delete_all(struct setup *setup);
void bag_slab_given(struct setup *setup);
void bag_evacuation(struct setup *setup);

#endif
