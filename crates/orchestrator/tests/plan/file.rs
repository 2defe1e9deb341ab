//! The file of a cluster: what it says, and what it does not.

use pgherd_orchestrator::{Cluster, ClusterFile, ClusterSpec, Limits, Replicas, Storage, plan};

use super::*;

const SHOP: &str = r#"
version = 17
replicas = 3
quorum = 1
publish = true
volume = "/srv/shop"
memory = "1GB"
cpus = 0.5

# The fourth node follows the second.
[upstreams]
4 = 2

[settings]
Work_Mem = "64MB"
max_connections = 300
autovacuum = false
"#;

fn file(text: &str) -> Result<ClusterFile, String> {
    text.parse().map_err(|error: toml::de::Error| error.to_string())
}

fn usual() -> ClusterSpec {
    ClusterSpec::new("demo".parse().expect("a name"), 17)
}

fn limits() -> Limits {
    Limits { memory: Some("1GB".parse().expect("a size")), cpus: Some("0.5".parse().expect("a number")) }
}

#[test]
fn the_same_by_flags_by_file_and_by_library_is_the_same_plan() {
    let by_flags = ClusterSpec {
        replicas: Replicas::AtLeast(3),
        quorum: Some(1),
        publish: true,
        upstreams: [(4, 2)].into(),
        storage: Some(Storage::Directory("/srv/shop".to_owned())),
        limits: limits(),
        common: [("autovacuum", "off"), ("max_connections", "300"), ("work_mem", "64MB")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        ..usual()
    };
    let by_file = file(SHOP).expect("a file").spec(&usual());
    let builder = Cluster::builder().name("demo").expect("a name").version(17).replicas(3).quorum(1).upstream(4, 2);
    let builder = builder.storage("/srv/shop".parse().expect("a place")).limits(limits());
    let builder = builder.setting("work_mem", "64MB").setting("max_connections", "300").setting("autovacuum", "off");
    let ports = Inventory { free_ports: vec![50001, 50002, 50003, 50004], ..nothing() };
    let plans = [by_flags, by_file, builder.spec()].map(|spec| {
        let plan = plan(&spec, &ports).expect("a plan");
        serde_json::to_string(&plan).expect("JSON")
    });
    assert_eq!(plans[0], plans[1]);
    assert_eq!(plans[0], plans[2]);
}

#[test]
fn what_is_not_said_stays_as_it_is() {
    assert_eq!(file("").expect("a file").spec(&usual()), usual());
    let named = file("name = \"shop\"\nversion = 18").expect("a file").spec(&usual());
    assert_eq!(named, ClusterSpec::new("shop".parse().expect("a name"), 18));
}

#[test]
fn a_changed_file_changes_what_differs() {
    let at_two = ClusterFile::of(&complete(2));
    assert_snapshot!(at_two.to_string(), @r#"
    name = "demo"
    version = 17
    replicas = 2
    quorum = 0
    publish = false
    "#);
    let again = |file: &ClusterFile| rendered(&file.spec(&usual()), &complete(2));
    assert_eq!(again(&at_two).lines().filter(|line| !line.starts_with("wait")).count(), 0);
    let at_one = ClusterFile { replicas: Some(1), ..at_two };
    assert_snapshot!(again(&at_one), @"
    tell demo-1 to be the primary beside demo-2
    tell demo-2 to be a replica of demo-1 beside demo-1
    remove the container of demo-3
    drop the slot of demo-3 on demo-1
    remove the volume of demo-3
    ");
}

#[test]
fn a_file_comes_back_as_it_was() {
    let shop = file(SHOP).expect("a file");
    assert_eq!(file(&shop.to_string()), Ok(shop));
    let tight = file("volume-size = \"512MB\"").expect("a file");
    assert_eq!(file(&tight.to_string()), Ok(tight));
}

#[test]
fn what_makes_no_sense_is_told_with_its_place() {
    let told = |text| file(text).expect_err("no file");
    assert_snapshot!(told("version = 17\nreplicsa = 3\n"), @"
    TOML parse error at line 2, column 1
      |
    2 | replicsa = 3
      | ^^^^^^^^
    unknown field `replicsa`, expected one of `name`, `version`, `replicas`, `quorum`, `publish`, `volume-size`, `volume`, `memory`, `cpus`, `profile`, `init`, `from-volume`, `from-dir`, `upstreams`, `settings`
    ");
    assert_snapshot!(told("volume-size = 512"), @r#"
    TOML parse error at line 1, column 15
      |
    1 | volume-size = 512
      |               ^^^
    "512" is not a size
    hint: Use a whole number with one of the units "kB", "MB", "GB" and "TB", as in "512MB"; units are powers of 1024.
    "#);
    assert_snapshot!(told("volume-size = \"512XB\""), @r#"
    TOML parse error at line 1, column 15
      |
    1 | volume-size = "512XB"
      |               ^^^^^^^
    "512XB" is not a size
    hint: Use a whole number with one of the units "kB", "MB", "GB" and "TB", as in "512MB"; units are powers of 1024.
    "#);
    assert_snapshot!(told("name = \"Shop\""), @r#"
    TOML parse error at line 1, column 8
      |
    1 | name = "Shop"
      |        ^^^^^^
    invalid cluster name "Shop": it has other characters than lower-case letters, digits and hyphens
    hint: Use at most 40 lower-case letters, digits and hyphens, beginning with a letter, as in "demo".
    "#);
    assert_snapshot!(told("[upstreams]\nshop-4 = 2"), @r#"
    TOML parse error at line 1, column 1
      |
    1 | [upstreams]
      | ^^^^^^^^^^^
    "shop-4" is no number of a node, as in "4 = 2"
    "#);
    assert_snapshot!(told("cpus = 0"), @r#"
    TOML parse error at line 1, column 8
      |
    1 | cpus = 0
      |        ^
    "0" is not a number of CPUs
    hint: Use a number above zero with at most three decimals, as in "0.5" or "2".
    "#);
    assert_snapshot!(told("volume = \"srv\""), @r#"
    TOML parse error at line 1, column 10
      |
    1 | volume = "srv"
      |          ^^^^^
    "srv" is no place for data
    hint: Use "named" for volumes of the engine's, "tmpfs" for memory, or the absolute path of a directory on its host.
    "#);
    assert_snapshot!(told("profile = \"fast\""), @r#"
    TOML parse error at line 1, column 11
      |
    1 | profile = "fast"
      |           ^^^^^^
    unknown variant `fast`, expected `durable` or `throwaway`
    "#);
    assert_snapshot!(told("[settings]\nwork_mem = [64]"), @"
    TOML parse error at line 2, column 12
      |
    2 | work_mem = [64]
      |            ^^^^
    expected a text, a number or a truth value
    ");
    assert_snapshot!(told("replicas = -1"), @r#"
    TOML parse error at line 1, column 12
      |
    1 | replicas = -1
      |            ^^
    invalid value: integer `-1`, expected u16
    "#);
}
