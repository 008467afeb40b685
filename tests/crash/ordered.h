/* SPDX-License-Identifier: Apache-2.0 */
/* ordered.h - cases about the tree of an ordered_set: each prepares one, and the operation that changes it so. */
#ifndef ORDERED_H
#define ORDERED_H

#include "setup.h"

void ordered_first_row(struct setup *setup);
void ordered_new_key(struct setup *setup);
void ordered_larger(struct setup *setup);
void ordered_smaller(struct setup *setup);
void ordered_update_default(struct setup *setup);
void ordered_delete(struct setup *setup);
void ordered_leaf_split(struct setup *setup);
void ordered_edge_split(struct setup *setup);
void ordered_inner_split(struct setup *setup);
void ordered_root_growth(struct setup *setup);
void ordered_root_split(struct setup *setup);
void ordered_leaf_merge(struct setup *setup);
void ordered_epoch_merge(struct setup *setup);
void ordered_inner_merge(struct setup *setup);
void ordered_root_shrink(struct setup *setup);
void ordered_last_row(struct setup *setup);
void ordered_delete_many(struct setup *setup);
void ordered_slab_given(struct setup *setup);
void ordered_node_growth(struct setup *setup);
void ordered_apply(struct setup *setup);
void ordered_apply_aborts(struct setup *setup);
void ordered_apply_bulk(struct setup *setup);
void ordered_apply_bulk_aborts(struct setup *setup);
void ordered_apply_one_key(struct setup *setup);
void ordered_apply_deletes(struct setup *setup);
void ordered_delete_all(struct setup *setup);
void ordered_after_delete_all(struct setup *setup);
void ordered_after_larger_delete_all(struct setup *setup);
void ordered_full_row(struct setup *setup);
void ordered_full_node(struct setup *setup);
void ordered_full_apply(struct setup *setup);

#endif
