//! Who goes together: rotations that have a consumer in common, directly or by way of others, share its restart.

/// Groups requests by what they move; each entry of `moved` names the consumers of one of them. The groups are in the
/// order of their first members, and so are the members.
pub fn batches<T: PartialEq>(moved: &[Vec<T>]) -> Vec<Vec<usize>> {
    let mut batches: Vec<Vec<usize>> = Vec::new();
    for (number, consumers) in moved.iter().enumerate() {
        let is_related =
            |batch: &Vec<usize>| batch.iter().any(|&other| moved[other].iter().any(|one| consumers.contains(one)));
        let (related, mut others): (Vec<_>, Vec<_>) = batches.into_iter().partition(is_related);
        let mut batch: Vec<usize> = related.into_iter().flatten().collect();
        batch.push(number);
        batch.sort_unstable();
        others.push(batch);
        others.sort_unstable();
        batches = others;
    }
    batches
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(moved: &[&[&str]]) -> Vec<Vec<usize>> {
        batches(&moved.iter().map(|consumers| consumers.to_vec()).collect::<Vec<_>>())
    }

    #[test]
    fn those_with_a_consumer_in_common_go_together_and_others_alone() {
        assert_eq!(of(&[&["a"], &["b"], &["a", "c"]]), [vec![0, 2], vec![1]]);
    }

    #[test]
    fn one_with_two_consumers_joins_what_was_apart() {
        assert_eq!(of(&[&["a"], &["b"], &["c"], &["a", "c"]]), [vec![0, 2, 3], vec![1]]);
    }

    proptest! {
        /// Everyone is in one batch, and two batches have nobody in common.
        #[test]
        fn batches_are_a_partition_and_apart(moved in prop::collection::vec(prop::collection::vec(0_u8..12, 0..4), 0..12)) {
            let batches = batches(&moved);
            let mut all: Vec<usize> = batches.iter().flatten().copied().collect();
            all.sort_unstable();
            prop_assert_eq!(all, (0..moved.len()).collect::<Vec<_>>());
            let consumers = |batch: &Vec<usize>| batch.iter().flat_map(|&one| moved[one].clone()).collect::<Vec<_>>();
            for (number, one) in batches.iter().enumerate() {
                for other in &batches[number + 1..] {
                    prop_assert!(consumers(one).iter().all(|consumer| !consumers(other).contains(consumer)));
                }
            }
        }
    }
}
