//! Which servers the command is about.

use std::{collections::BTreeSet, str::FromStr};

use pgherd_probe::{Conninfo, ParseConninfoError};

/// One argument: a connection string, with or without the node's name before it.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) name: Option<String>,
    pub(crate) conninfo: Conninfo,
}

impl FromStr for Target {
    type Err = ParseConninfoError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let named = text.split_once('=').filter(|(name, _)| {
            // A node that has the name of a keyword cannot be named here.
            !Conninfo::is_uri(text) && !name.contains(char::is_whitespace) && !Conninfo::is_keyword(name)
        });
        let (name, conninfo) = named.map_or((None, text), |(name, conninfo)| (Some(name.to_owned()), conninfo));
        Ok(Target { name, conninfo: conninfo.parse()? })
    }
}

/// Whether the servers can be told apart.
pub(crate) fn check(targets: &[Target]) -> Result<(), String> {
    let mut names = BTreeSet::new();
    for target in targets.iter().filter(|_| targets.len() > 1) {
        let name = target.name.as_deref().filter(|name| !name.is_empty()).ok_or(
            "several servers need names, as they have in cluster_name\nhint: Write NAME=\"CONNINFO\" for each.",
        )?;
        if !names.insert(name) {
            return Err(format!("two servers have the name \"{name}\""));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> String {
        match format!("{text} user=u").parse::<Target>() {
            Ok(Target { name, conninfo }) => format!("{name:?} {}", conninfo.servers()[0]),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_name_is_told_from_a_keyword() {
        assert_eq!(read("host=x"), r#"None "x", port 5432"#);
        assert_eq!(read("demo-1=host=x port=1"), r#"Some("demo-1") "x", port 1"#);
        assert_eq!(read("host = x"), r#"None "x", port 5432"#);
        assert_eq!(read("hots=x"), r#"missing "=" after "x" in the connection string"#);
        let uri = "a=postgresql://u@h:7/d".parse::<Target>().unwrap();
        assert_eq!((uri.name.as_deref(), uri.conninfo.servers()[0].port), (Some("a"), 7));
        assert_eq!("postgresql://u@h/d?sslmode=require".parse::<Target>().unwrap().name, None);
    }

    #[test]
    fn several_servers_have_different_names() {
        let check = |texts: &[&str]| {
            check(&texts.iter().map(|text| format!("{text} user=u").parse().unwrap()).collect::<Vec<_>>())
        };
        assert_eq!(check(&["host=x"]), Ok(()));
        assert_eq!(check(&["a=host=x", "b=host=x"]), Ok(()));
        assert_eq!(check(&["a=host=x", "a=host=y"]), Err("two servers have the name \"a\"".to_owned()));
        assert!(check(&["a=host=x", "host=y"]).unwrap_err().starts_with("several servers need names"));
    }
}
