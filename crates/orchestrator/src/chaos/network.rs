//! Faults of a node's network: commands for a helper in the node's network namespace, and what it tells of them. Pure.
//!
//! All of it ends with the namespace, that is when the node's container stops.

use std::{collections::HashMap, net::IpAddr};

use super::fault::{Direction, Fault, Rate};

/// The table of the packet filter that holds everything of ours, nft(8).
const TABLE: &str = "inet pgherd";

/// The mark by which our queueing discipline is known, tc(8).
const HANDLE: &str = "9b:";

/// Every network interface but the loopback one, as `$d`.
const EACH_INTERFACE: &str = "for d in $(ls /sys/class/net); do [ \"$d\" = lo ] && continue;";

/// A shell script that brings the fault about, or `None` for one that is not of the network.
///
/// `peer` are the addresses of the other end, where the fault has one.
pub(super) fn inject(fault: &Fault, peer: &[IpAddr]) -> Option<String> {
    let queue = |discipline: String| {
        // "add", not "replace": two at once cannot be had, and the first must not vanish silently.
        format!("{EACH_INTERFACE} tc qdisc add dev \"$d\" root handle {HANDLE} {discipline}; done")
    };
    match fault {
        Fault::Partition { direction, from, .. } => {
            let both =
                |end| from.as_ref().map_or(vec![String::new()], |_| peer.iter().map(|a| address(end, *a)).collect());
            let mut rules = Vec::new();
            if *direction != Direction::Out {
                rules.extend(both("saddr").into_iter().map(|peer| rule("arriving", "iifname", &peer, fault)));
            }
            if *direction != Direction::In {
                rules.extend(both("daddr").into_iter().map(|peer| rule("leaving", "oifname", &peer, fault)));
            }
            Some(filter(&rules))
        }
        // The engine's own name server is on the loopback interface, behind a translation of addresses that comes later.
        Fault::Dns { .. } => {
            let refuse = |protocol: &str, how: &str| {
                format!("add rule {TABLE} leaving {protocol} dport 53 reject{how} comment \"{fault}\"")
            };
            Some(filter(&[refuse("udp", ""), refuse("tcp", " with tcp reset")]))
        }
        Fault::Bandwidth { rate, .. } => {
            Some(queue(format!("tbf rate {rate} burst {} latency 50ms", burst_bytes(*rate))))
        }
        Fault::Delay { delay, .. } => Some(queue(format!("netem delay {delay}"))),
        Fault::Loss { percent, .. } => Some(queue(format!("netem loss {percent}"))),
        Fault::Stop { .. } | Fault::Kill { .. } | Fault::Freeze { .. } | Fault::DiskFull { .. } => None,
    }
}

/// A shell script that takes all network faults away.
pub(super) fn heal() -> String {
    format!(
        "nft delete table {TABLE} 2>/dev/null || ! nft list table {TABLE} 2>/dev/null; {EACH_INTERFACE} \
         case \"$(tc qdisc show dev \"$d\" root)\" in *\" {HANDLE} \"*) tc qdisc del dev \"$d\" root;; esac; done"
    )
}

/// A shell script that prints what [`faults`] reads.
pub(super) fn list() -> String {
    format!("nft list table {TABLE} 2>/dev/null || true; {EACH_INTERFACE} tc qdisc show dev \"$d\" root; done")
}

/// The network faults of `node` that are in force. A rule knows the other end of a partition by an address, which may be
/// somebody else's by now: `addresses` are those that nodes have.
pub(super) fn faults(node: &str, listing: &str, addresses: &HashMap<String, Vec<IpAddr>>) -> Vec<String> {
    let rule = |line: &str| {
        let fault = line.split_once("comment \"")?.1.split_once('"')?.0;
        let dropped = line.split_whitespace().skip_while(|word| !["saddr", "daddr"].contains(word)).nth(1);
        let dropped: Option<IpAddr> = dropped.and_then(|address| address.parse().ok());
        let from = fault.split_whitespace().skip_while(|word| *word != "--from").nth(1);
        let is_its =
            |address: IpAddr| from.and_then(|from| addresses.get(from)).is_some_and(|of| of.contains(&address));
        Some(match dropped.filter(|address| !is_its(*address)) {
            Some(address) => format!("{fault} (drops {address}, which is no address of it any more)"),
            None => fault.to_owned(),
        })
    };
    let queue = |line: &str| {
        let discipline = line.trim().strip_prefix("qdisc ")?;
        let (kind, parameters) = discipline.split_once(&format!(" {HANDLE} "))?;
        let value = |key: &str| {
            let mut words = parameters.split_whitespace().skip_while(move |word| *word != key);
            words.nth(1).map(str::to_lowercase)
        };
        match kind {
            "tbf" => Some(format!("bandwidth {node} {}", value("rate")?)),
            _ => value("delay")
                .map(|delay| format!("delay {node} {delay}"))
                .or_else(|| Some(format!("loss {node} {}", value("loss")?))),
        }
    };
    let mut found: Vec<String> = listing.lines().filter_map(|line| rule(line).or_else(|| queue(line))).collect();
    found.sort();
    found.dedup();
    found
}

/// The rules in a table of their own, before any connection is tracked or address translated. Table and chains may be there;
/// a rule that is there twice drops no more than once.
fn filter(rules: &[String]) -> String {
    let chain = |name: &str, hook: &str| {
        format!("add chain {TABLE} {name} {{ type filter hook {hook} priority -300; policy accept; }}")
    };
    let lines = [format!("add table {TABLE}"), chain("arriving", "input"), chain("leaving", "output")];
    let lines: Vec<&str> = lines.iter().chain(rules).map(String::as_str).collect();
    format!("nft -f - <<'END'\n{}\nEND", lines.join("\n"))
}

fn rule(chain: &str, interface: &str, peer: &str, fault: &Fault) -> String {
    format!("add rule {TABLE} {chain} {interface} != \"lo\" {peer}drop comment \"{fault}\"")
}

fn address(end: &str, address: IpAddr) -> String {
    let family = if address.is_ipv4() { "ip" } else { "ip6" };
    format!("{family} {end} {address} ")
}

/// What may go out at once: a hundredth of a second of it, and no less than the largest packet that the kernel hands over.
fn burst_bytes(rate: Rate) -> u64 {
    (rate.0 / 8 / 100).max(65_536)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chaos::fault::Percent;

    fn partition(from: Option<&str>, direction: Direction) -> Fault {
        let node = |name: &str| name.parse().expect(name);
        Fault::Partition { node: node("demo-2"), from: from.map(node), direction }
    }

    #[test]
    fn a_partition_drops_by_direction_and_peer() {
        let peers = ["172.18.0.2".parse().expect("an address"), "fd00::2".parse().expect("an address")];
        let rules = |fault: Fault| {
            let script = inject(&fault, &peers).expect("a script");
            script.lines().filter(|line| line.starts_with("add rule")).collect::<Vec<_>>().join("\n")
        };
        insta::assert_snapshot!(rules(partition(None, Direction::Both)), @r#"
        add rule inet pgherd arriving iifname != "lo" drop comment "partition demo-2"
        add rule inet pgherd leaving oifname != "lo" drop comment "partition demo-2"
        "#);
        insta::assert_snapshot!(rules(partition(Some("demo-1"), Direction::In)), @r#"
        add rule inet pgherd arriving iifname != "lo" ip saddr 172.18.0.2 drop comment "partition demo-2 --from demo-1 --direction in"
        add rule inet pgherd arriving iifname != "lo" ip6 saddr fd00::2 drop comment "partition demo-2 --from demo-1 --direction in"
        "#);
        insta::assert_snapshot!(inject(&Fault::Dns { node: "demo-2".parse().expect("a node") }, &[]).expect("a script"), @r#"
        nft -f - <<'END'
        add table inet pgherd
        add chain inet pgherd arriving { type filter hook input priority -300; policy accept; }
        add chain inet pgherd leaving { type filter hook output priority -300; policy accept; }
        add rule inet pgherd leaving udp dport 53 reject comment "dns demo-2"
        add rule inet pgherd leaving tcp dport 53 reject with tcp reset comment "dns demo-2"
        END
        "#);
    }

    #[test]
    fn a_queue_is_added_and_never_replaced() {
        let node = || "demo-2".parse().expect("a node");
        let script = |fault| inject(&fault, &[]).expect("a script");
        insta::assert_snapshot!(script(Fault::Bandwidth { node: node(), rate: Rate(1_000_000) }), @r#"for d in $(ls /sys/class/net); do [ "$d" = lo ] && continue; tc qdisc add dev "$d" root handle 9b: tbf rate 1mbit burst 65536 latency 50ms; done"#);
        assert!(script(Fault::Loss { node: node(), percent: Percent(5) }).contains("netem loss 5%"));
    }

    #[test]
    fn what_is_in_force_reads_as_it_was_typed() {
        let listing = "\
table inet pgherd {
	chain arriving {
		type filter hook input priority raw; policy accept;
		iifname != \"lo\" drop comment \"partition demo-2\"
	}
	chain leaving {
		oifname != \"lo\" drop comment \"partition demo-2\"
		oifname != \"lo\" ip daddr 10.0.0.2 drop comment \"partition demo-2 --from demo-1\"
		oifname != \"lo\" ip daddr 10.0.0.3 drop comment \"partition demo-2 --from demo-3\"
	}
}
qdisc tbf 9b: root refcnt 2 rate 1Mbit burst 64Kb lat 50ms
qdisc netem 9b: root refcnt 2 limit 1000 delay 100ms
qdisc noqueue 0: root refcnt 2
";
        let address = |text: &str| vec![text.parse().expect("an address")];
        let addresses =
            [("demo-1", "10.0.0.2"), ("demo-3", "10.0.0.4")].map(|(node, ip)| (node.to_owned(), address(ip)));
        insta::assert_snapshot!(faults("demo-2", listing, &addresses.into()).join("\n"), @"
        bandwidth demo-2 1mbit
        delay demo-2 100ms
        partition demo-2
        partition demo-2 --from demo-1
        partition demo-2 --from demo-3 (drops 10.0.0.3, which is no address of it any more)
        ");
        assert_eq!(faults("demo-2", "qdisc noqueue 0: root refcnt 2", &HashMap::new()), [""; 0]);
    }
}
