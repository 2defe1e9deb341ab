//! What an administrator sees of a server that is not ours.

use std::collections::BTreeMap;

use pgherd_agent::ORDER_BOUND_SETTINGS;
use pgherd_probe::SystemIdentifier;
use serde::Deserialize;

/// What anybody may know.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Basics {
    pub(super) user: String,
    pub(super) is_superuser: bool,
    pub(super) in_recovery: bool,
}

pub(super) const BASICS: &str = "SELECT json_build_object('user', current_user, 'is_superuser', \
     (SELECT rolsuper FROM pg_roles WHERE rolname = current_user), 'in_recovery', pg_is_in_recovery())";

/// What is there of the server, and of us on it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct SourceFacts {
    /// Which family of data directories it belongs to.
    pub system_identifier: SystemIdentifier,
    /// Its major version.
    pub major: u16,
    /// The port that it listens on, where it is.
    pub port: u16,
    /// `listen_addresses`.
    pub listen_addresses: String,
    /// `wal_level`.
    pub wal_level: String,
    /// `max_wal_senders`, and how many are in use.
    pub wal_senders: (u16, u16),
    /// `max_replication_slots`, and how many are in use.
    pub slots: (u16, u16),
    /// The names of its slots.
    pub slot_names: Vec<String>,
    /// The settings that a replica must have no less of, [`ORDER_BOUND_SETTINGS`].
    pub order_bound: BTreeMap<String, u32>,
    /// Whether there is a superuser `postgres` that may log in.
    pub has_superuser: bool,
    /// The locales of databases that the C library has to know.
    pub locales: Vec<String>,
    /// Of these, those that the image of nodes has not.
    #[serde(default)]
    pub missing_locales: Vec<String>,
    /// The path of its `pg_hba.conf`.
    pub hba_file: String,
    /// What is wrong with that file.
    pub hba_error: Option<String>,
    /// From where our role is to be let in, as an address of `pg_hba.conf`.
    pub nodes_are_at: String,
    /// Whether our role is there.
    pub has_role: bool,
    /// Whether the line is there by which it is let in.
    pub has_line: bool,
}

impl SourceFacts {
    /// The question, of a superuser, for facts about `role`. `by_network` says that nodes come from the same place as the administrator.
    pub(super) fn question(role: &str, by_network: bool) -> String {
        let bound: Vec<String> = ORDER_BOUND_SETTINGS.iter().map(|(name, _)| format!("'{name}'")).collect();
        let bound = bound.join(", ");
        // Who comes from the machine itself, or from its own networks, is on one of these.
        let address = "CASE WHEN inet_client_addr() IS NULL OR inet_client_addr() <<= inet '127.0.0.0/8' \
                 OR inet_client_addr() = inet '::1' OR inet_client_addr() = inet_server_addr() THEN 'samenet' \
             ELSE host(inet_client_addr()) || CASE family(inet_client_addr()) WHEN 4 THEN '/32' ELSE '/128' END END";
        let address = if by_network { address } else { "'samenet'" };
        let line = line("", role);
        let (before, after) = line.split_once("  ").unwrap_or_default();
        format!(
            "WITH at AS (SELECT {address} AS address) \
             SELECT json_build_object( \
                 'system_identifier', (SELECT system_identifier::text FROM pg_control_system()), \
                 'major', current_setting('server_version_num')::int / 10000, \
                 'port', current_setting('port')::int, \
                 'listen_addresses', current_setting('listen_addresses'), \
                 'wal_level', current_setting('wal_level'), \
                 'wal_senders', json_build_array(current_setting('max_wal_senders')::int, \
                     (SELECT count(*) FROM pg_stat_replication)), \
                 'slots', json_build_array(current_setting('max_replication_slots')::int, \
                     (SELECT count(*) FROM pg_replication_slots)), \
                 'slot_names', (SELECT coalesce(json_agg(slot_name), '[]') FROM pg_replication_slots), \
                 'order_bound', (SELECT json_object_agg(name, setting::int) FROM pg_settings WHERE name IN ({bound})), \
                 'has_superuser', EXISTS (SELECT FROM pg_roles WHERE rolname = 'postgres' AND rolsuper AND rolcanlogin), \
                 'locales', (SELECT coalesce(json_agg(DISTINCT locale), '[]') FROM pg_database, \
                     LATERAL (VALUES (datcollate), (datctype)) AS used (locale) WHERE locale IS NOT NULL), \
                 'hba_file', current_setting('hba_file'), \
                 'hba_error', (SELECT format('line %s: %s', line_number, error) FROM pg_hba_file_rules \
                     WHERE error IS NOT NULL ORDER BY line_number LIMIT 1), \
                 'nodes_are_at', address, \
                 'has_role', EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}'), \
                 'has_line', '{before} ' || address || ' {after}' IN ( \
                     SELECT regexp_split_to_table(pg_read_file(current_setting('hba_file')), E'\\n')) \
             ) FROM at"
        )
    }

    /// The line of `pg_hba.conf` by which a role is let in.
    pub(super) fn line(&self, role: &str) -> String {
        line(&self.nodes_are_at, role)
    }
}

/// As little as lets replicas in, <https://www.postgresql.org/docs/17/auth-pg-hba-conf.html>. The database is for the question what
/// tablespaces there are, which the replication protocol does not answer.
fn line(address: &str, role: &str) -> String {
    format!("host replication,postgres {role} {address} scram-sha-256")
}

/// Locales by the names that `locale -a` has for them.
pub(super) fn missing_locales(used: &[String], known: &str) -> Vec<String> {
    let plain = |name: &str| name.to_ascii_lowercase().replace('-', "");
    let is_known = |name: &&String| {
        // PostgreSQL's own, whatever the C library knows.
        ["C", "POSIX"].contains(&name.as_str()) || known.lines().any(|known| plain(known.trim()) == plain(name))
    };
    used.iter().filter(|name| !is_known(name)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_locale_has_more_than_one_name() {
        let used = ["C", "en_US.UTF-8", "C.UTF-8", "de_DE.UTF-8"].map(str::to_owned);
        assert_eq!(missing_locales(&used, "C\nC.utf8\nen_US.utf8\n"), ["de_DE.UTF-8"]);
    }

    #[test]
    fn the_question_has_the_line_that_is_looked_for() {
        let question = SourceFacts::question("pgherd_demo", true);
        assert!(
            question.contains("'host replication,postgres pgherd_demo ' || address || ' scram-sha-256' IN"),
            "{question}"
        );
    }
}
