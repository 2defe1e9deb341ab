//! The password file.
//!
//! <https://www.postgresql.org/docs/17/libpq-pgpass.html>

/// What a line is looked up by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) host: &'a str,
    pub(super) port: u16,
    pub(super) database: &'a str,
    pub(super) user: &'a str,
}

/// The password of the first line that matches.
pub(super) fn password(file: &str, wanted: Wanted<'_>) -> Option<String> {
    let port = wanted.port.to_string();
    let lines = file.lines().filter(|line| !line.starts_with('#'));
    lines.map(fields).find_map(|fields| match &fields[..] {
        [host, of_port, database, user, password] => {
            let pairs = [(host, wanted.host), (of_port, &*port), (database, wanted.database), (user, wanted.user)];
            pairs.iter().all(|(field, wanted)| field.matches(wanted)).then(|| password.text.clone())
        }
        _ => None,
    })
}

/// A field, and whether it is a star that was not escaped.
#[derive(Default)]
struct Field {
    text: String,
    is_escaped: bool,
}

impl Field {
    fn matches(&self, wanted: &str) -> bool {
        self.text == wanted || (self.text == "*" && !self.is_escaped)
    }
}

/// Up to five fields between colons. A backslash takes the meaning off the next character.
fn fields(line: &str) -> Vec<Field> {
    let mut fields = vec![Field::default()];
    let mut characters = line.chars();
    while let (Some(c), Some(last)) = (characters.next(), fields.last_mut()) {
        match c {
            ':' => fields.push(Field::default()),
            '\\' => {
                last.is_escaped = true;
                last.text.extend(characters.next());
            }
            c => last.text.push(c),
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_first_line_that_matches_counts() {
        let file = "\
# host:port:database:user:password
a:5432:db:u:one
a:5432:*:u:two
::1 is not escaped:1:2
\\:\\:1:*:*:*:six
*:5433:replication:u:p\\:w\\\\d
a:5432:\\*:v:star
";
        let find = |host, port, database, user| password(file, Wanted { host, port, database, user });
        for (host, port, database, user, found) in [
            ("a", 5432, "db", "u", Some("one")),
            ("a", 5432, "other", "u", Some("two")),
            ("::1", 1, "x", "y", Some("six")),
            ("b", 5433, "replication", "u", Some(r"p:w\d")),
            ("a", 5432, "*", "v", Some("star")),
            ("a", 5432, "db", "v", None),
            ("b", 5432, "db", "u", None),
        ] {
            assert_eq!(find(host, port, database, user).as_deref(), found, "{host} {port} {database} {user}");
        }
    }

    proptest! {
        #[test]
        fn any_file_has_a_password_or_none(file in ".*") {
            let _ = password(&file, Wanted { host: "a", port: 1, database: "b", user: "c" });
        }
    }
}
