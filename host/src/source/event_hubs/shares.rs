//! How much of each partition one epoch reads.

/// What a partition has: how many messages are known to be there and unread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Backlog(pub(super) u64);

/// How many messages of each partition to read, so that there are at most `most`
/// in all: in proportion to what they have. What rounding leaves over goes first
/// to partitions that would get nothing.
pub(super) fn shares(backlogs: &[Backlog], most: u64) -> Vec<u64> {
    let total: u64 = backlogs.iter().fold(0, |total, backlog| total.saturating_add(backlog.0));
    if total <= most {
        return backlogs.iter().map(|backlog| backlog.0).collect();
    }
    // The product of two 64-bit numbers needs 128 bits; the quotient does not.
    let proportion = |backlog: u64| (u128::from(most) * u128::from(backlog) / u128::from(total)) as u64;
    let mut shares: Vec<u64> = backlogs.iter().map(|backlog| proportion(backlog.0)).collect();
    let mut left = most - shares.iter().sum::<u64>();
    // What rounding left goes to those that would get nothing, then to the rest.
    let mut order: Vec<usize> = (0..shares.len()).collect();
    order.sort_by_key(|index| shares[*index]);
    for index in order {
        if left > 0 && shares[index] < backlogs[index].0 {
            shares[index] += 1;
            left -= 1;
        }
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(backlogs: &[u64], most: u64, expected: &[u64]) {
        let backlogs: Vec<Backlog> = backlogs.iter().map(|backlog| Backlog(*backlog)).collect();
        assert_eq!(shares(&backlogs, most), expected, "{backlogs:?} of which {most}");
    }

    #[test]
    fn shares_follow_the_backlogs() {
        check(&[], 10, &[]);
        check(&[3, 0, 5], 100, &[3, 0, 5]);
        check(&[300, 100], 100, &[75, 25]);
        check(&[1000, 1, 0], 100, &[99, 1, 0]);
        check(&[1000, 1000, 1000], 100, &[34, 33, 33]);
        check(&[1, 1, 1], 2, &[1, 1, 0]);
        check(&[u64::MAX, 7], 10, &[10, 0]);
        check(&[5, 5], 0, &[0, 0]);
    }

    proptest::proptest! {
        #[test]
        fn shares_fill_the_bound_and_exceed_no_backlog(
            backlogs in proptest::collection::vec(0_u64..1_000_000, 0..40),
            most in 0_u64..2_000_000,
        ) {
            let backlogs: Vec<Backlog> = backlogs.into_iter().map(Backlog).collect();
            let shares = shares(&backlogs, most);
            let total: u64 = backlogs.iter().map(|backlog| backlog.0).sum();
            proptest::prop_assert_eq!(shares.iter().sum::<u64>(), total.min(most));
            for (share, backlog) in shares.iter().zip(&backlogs) {
                proptest::prop_assert!(*share <= backlog.0);
            }
        }
    }
}
