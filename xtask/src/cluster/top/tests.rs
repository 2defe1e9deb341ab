//! The live view, with looks that are always the same.

use std::time::Duration;

use insta::assert_snapshot;
use pgherd_probe::{Lsn, NodeLsn, Observed, Policy, Reach, assess};
use ratatui::{Terminal, backend::TestBackend};

use super::{
    draw::{self, human, sparkline},
    draw_on,
    model::Model,
};

/// A primary, a replica that lags, its downstream, one that is stopped, and one of which the primary knows nothing.
fn observed() -> Vec<Observed> {
    serde_json::from_str(include_str!("../../../../crates/orchestrator/tests/observed.json")).expect("nodes")
}

/// The primary goes on by 3 MiB, and nobody follows.
fn later() -> Vec<Observed> {
    let mut observed = observed();
    if let Reach::Answered(primary) = &mut observed[0].reach {
        let end = Lsn(0x0530_0000);
        primary.lsn = NodeLsn::Primary { write: end, flush: end };
    }
    observed
}

fn model(looks: &[Vec<Observed>]) -> Model {
    let verdict = |observed: &Vec<Observed>| assess(&Policy::default(), observed);
    let name = "demo".parse().expect("a name");
    let mut model = Model::new(&name, Duration::ZERO, &looks[0], verdict(&looks[0]));
    for (seconds, look) in (2..).step_by(2).zip(&looks[1..]) {
        model.fold(Duration::from_secs(seconds), look, verdict(look));
    }
    model
}

fn page(model: &Model, width: usize) -> String {
    draw::page(model, width).iter().map(|line| format!("{}\n", line.to_string().trim_end())).collect()
}

#[test]
fn a_page_has_everything_in_its_place() {
    assert_snapshot!(page(&model(&[observed(), later(), later()]), 100), @r#"
    cluster "demo" is degraded, 5 nodes, 0 B/s of WAL

    NODE        ROLE     STATE          TL  LSN        RATE   LAG     TIME     MOST    LAG OVER TIME
    demo-1      primary  running        1   0/5300000  0 B/s  -       -        -       -
    ├ demo-2    replica  streaming      1   0/4FFF000  0 B/s  3.0 MB  1500 ms  3.0 MB  ▁██
    │ └ demo-4  replica  streaming      1   0/5000000  0 B/s  0 B     0 ms     0 B     ▁▁▁
    ├ demo-3    -        stopped        -   -          -      -       -        -
    └ demo-5    replica  not streaming  1   0/4FFF000  0 B/s  3.0 MB  2000 ms  3.0 MB  ▁██

    SLOT    ON      IN USE  WAL       RETAINED  LEFT
    demo_2  demo-1  yes     reserved  4.0 kB    -
    demo_3  demo-1  no      extended  32.0 MB   1.0 GB
    demo_5  demo-1  no      reserved  4.0 kB    -
    demo_4  demo-2  yes     reserved  0 B       -

    demo-1: has settings that wait for a restart: shared_buffers (a note)
    hint: Restart the node when it suits.

    demo-2: replays 1000 ms late, as recovery_min_apply_delay says (a note)
    hint: Set recovery_min_apply_delay to 0 if nobody needs the delay.

    demo-3: is stopped: its container exited with code 137
    hint: Start the node; if it exits again, its log says why.

    demo-5: is not in pg_stat_replication of upstream "demo-1"
    hint: If the replica says that it streams, look at the address that it streams from and at its
    application_name; else the replica's log says why it cannot connect.

    demo-5: does not use its slot "demo_5" on upstream "demo-1": 4096 bytes retained
    hint: Bring the replica back, or drop the slot before it fills the upstream's disk.
    "#);
}

#[test]
fn rates_need_two_looks_and_one_history() {
    assert_eq!(model(&[observed()]).wal_rate(), None);
    assert_eq!(model(&[observed(), later()]).wal_rate(), Some(3 << 19));
    assert_eq!(model(&[observed(), later(), later()]).wal_rate(), Some(0));
    let mut elsewhere = later();
    if let Reach::Answered(primary) = &mut elsewhere[0].reach {
        primary.timeline.0 = 2;
    }
    assert_eq!(model(&[observed(), elsewhere]).wal_rate(), None);
}

#[test]
fn those_that_stream_in_a_circle_are_shown_once() {
    let mut observed = observed();
    for (node, upstream) in [(1, "demo-4"), (3, "demo-2")] {
        let Reach::Answered(status) = &mut observed[node].reach else { panic!("it answers") };
        status.receiver.as_mut().expect("a receiver").sender_host = Some(upstream.to_owned());
    }
    let model = model(&[observed]);
    let tree: Vec<String> = model.tree().iter().map(|branch| format!("{}{}", branch.twig, branch.node.node)).collect();
    assert_snapshot!(tree.join("\n"), @"
    demo-1
    ├ demo-3
    └ demo-5
    demo-2
    └ demo-4
    ");
}

#[test]
fn a_screen_that_is_too_small_is_scrolled_and_not_beyond_the_end() {
    let model = model(&[observed(), later()]);
    let mut terminal = Terminal::new(TestBackend::new(60, 8)).expect("a terminal");
    let mut scrolled = 0;
    draw_on(&mut terminal, &model, &mut scrolled).expect("a frame");
    assert_snapshot!(terminal.backend(), @r#"
    "cluster "demo" is degraded, 5 nodes, 1.5 MB/s of WAL        "
    "                                                            "
    "NODE        ROLE     STATE          TL  LSN        RATE     "
    "demo-1      primary  running        1   0/5300000  1.5 MB/s "
    "├ demo-2    replica  streaming      1   0/4FFF000  0 B/s    "
    "│ └ demo-4  replica  streaming      1   0/5000000  0 B/s    "
    "├ demo-3    -        stopped        -   -          -        "
    "q quits, the arrows scroll                                  "
    "#);
    scrolled = u16::MAX;
    draw_on(&mut terminal, &model, &mut scrolled).expect("a frame");
    assert_snapshot!(terminal.backend(), @r#"
    "address that it streams from and at its application_name;   "
    "else the replica's log says why it cannot connect.          "
    "                                                            "
    "demo-5: does not use its slot "demo_5" on upstream "demo-1":"
    "4096 bytes retained                                         "
    "hint: Bring the replica back, or drop the slot before it    "
    "fills the upstream's disk.                                  "
    "q quits, the arrows scroll                                  "
    "#);
    for (columns, rows) in [(1, 1), (0, 0), (200, 1), (3, 80)] {
        let mut terminal = Terminal::new(TestBackend::new(columns, rows)).expect("a terminal");
        draw_on(&mut terminal, &model, &mut scrolled).expect("a frame");
    }
}

#[test]
fn lag_over_time_is_as_high_as_its_most() {
    for (values, bars) in [
        (vec![], ""),
        (vec![Some(0), Some(0)], "▁▁"),
        (vec![Some(0), Some(50), None, Some(100)], "▁▄ █"),
        (vec![Some(9), Some(1), Some(2), Some(3), Some(4)], "▂▄▆█"),
        (vec![Some(u64::MAX), Some(0)], "█▁"),
    ] {
        assert_eq!(sparkline(&values.into(), 4), bars);
    }
}

#[test]
fn amounts_are_short() {
    for (bytes, text) in [
        (0, "0 B"),
        (1023, "1023 B"),
        (1536, "1.5 kB"),
        (1 << 20, "1.0 MB"),
        ((1 << 30) - 1, "1023.9 MB"),
        (5 << 30, "5.0 GB"),
        (u64::MAX, "16383.9 PB"),
    ] {
        assert_eq!(human(bytes), text);
    }
}
