//! Which scenarios run, and in which order. Pure.

use crate::registry::Entry;

/// Those that a filter selects: the long ones with `all` only.
pub(super) fn select(
    entries: impl Iterator<Item = &'static Entry>,
    filter: Option<&str>,
    all: bool,
) -> Vec<&'static Entry> {
    let filter = filter.unwrap_or_default();
    entries.filter(|entry| (all || !entry.long) && entry.path().contains(filter)).collect()
}

/// The biggest first, so that the end of a run does not wait for it; else in reading order. Those that run alone come last.
pub(super) fn in_good_order(entries: &mut [&Entry]) {
    entries.sort_by_key(|entry| (entry.alone, std::cmp::Reverse(entry.nodes)));
}

/// Puts them into an order that the seed determines alone: Fisher and Yates's, drawing from SplitMix64.
///
/// <https://prng.di.unimi.it/splitmix64.c>
pub(super) fn shuffle<T>(items: &mut [T], seed: u64) {
    let mut state = seed;
    for last in (1..items.len()).rev() {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let drawn = usize::try_from((mixed ^ (mixed >> 31)) % (last as u64 + 1)).expect("less than a length");
        items.swap(last, drawn);
    }
}

/// All of them, for people.
pub(super) fn table(entries: &[&Entry]) -> String {
    let width = entries.iter().map(|entry| entry.path().len()).max().unwrap_or_default().max(4);
    let line = |name: &str, nodes: &str, runs_in: &str, about: &str| {
        format!("{name:<width$}  {nodes:>5}  {runs_in:<5}  {about}").trim_end().to_owned()
    };
    let header = line("NAME", "NODES", "IN", "ABOUT");
    let row = |entry: &&Entry| {
        line(&entry.path(), &entry.nodes.to_string(), if entry.long { "--all" } else { "ci" }, entry.about)
    };
    [header].into_iter().chain(entries.iter().map(row)).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::{in_good_order, select, shuffle, table};
    use crate::registry::Entry;

    const fn entry(name: &'static str, nodes: u16) -> Entry {
        Entry::idle("e2e::walk", name, nodes)
    }

    static ENTRIES: [Entry; 4] =
        [entry("short", 1), entry("clock", 4).alone(), entry("army", 17).long(), entry("other", 3)];

    #[test]
    fn a_filter_selects_by_path_and_long_ones_are_asked_for() {
        let names = |filter, all| {
            let mut selected = select(ENTRIES.iter(), filter, all);
            in_good_order(&mut selected);
            selected.iter().map(|entry| entry.name).collect::<Vec<_>>()
        };
        assert_eq!(names(None, false), ["other", "short", "clock"]);
        assert_eq!(names(None, true), ["army", "other", "short", "clock"]);
        assert_eq!(names(Some("walk::o"), false), ["other"]);
        assert_eq!(names(Some("army"), false), [""; 0]);
    }

    #[test]
    fn the_seed_determines_the_order() {
        let shuffled = |seed| {
            let mut items: Vec<u8> = (0..20).collect();
            shuffle(&mut items, seed);
            items
        };
        assert_eq!(shuffled(7), shuffled(7));
        assert_ne!(shuffled(7), shuffled(8));
        let mut sorted = shuffled(7);
        sorted.sort_unstable();
        assert_eq!(sorted, (0..20).collect::<Vec<_>>());
        shuffle(&mut [0; 0], 7);
    }

    #[test]
    fn the_list_is_a_table() {
        assert_eq!(
            table(&ENTRIES.iter().collect::<Vec<_>>()),
            "NAME         NODES  IN     ABOUT\n\
             walk::short      1  ci     idles\n\
             walk::clock      4  ci     idles\n\
             walk::army      17  --all  idles\n\
             walk::other      3  ci     idles"
        );
    }
}
