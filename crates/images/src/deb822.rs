//! The text format of Debian's control files: stanzas of `Field: value` lines.
//!
//! <https://manpages.debian.org/trixie/dpkg-dev/deb822.5.en.html>

/// One stanza. It borrows its text: an index has tens of thousands of stanzas, of which few are ever looked into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stanza<'a>(&'a str);

impl<'a> Stanza<'a> {
    /// The value of a field, by its name in any case: continuation lines are part of it, comment lines are not.
    #[must_use]
    pub fn get(&self, field: &str) -> Option<String> {
        let mut lines = self.0.lines().filter(|line| !line.starts_with('#'));
        let first = lines.find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case(field).then_some(value.trim())
        })?;
        let mut value = first.to_owned();
        for line in lines.take_while(|line| line.starts_with([' ', '\t'])) {
            value.push('\n');
            value.push_str(line.trim());
        }
        Some(value)
    }
}

/// The stanzas of a text, which empty lines set apart.
pub fn stanzas(text: &str) -> impl Iterator<Item = Stanza<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        rest = rest.trim_start_matches(['\n', '\r']);
        if rest.is_empty() {
            return None;
        }
        let (stanza, after) = rest.split_once("\n\n").unwrap_or((rest, ""));
        rest = after;
        Some(Stanza(stanza))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::stanzas;

    #[test]
    fn fields_are_found_in_any_case_with_their_continuations() {
        let text = "\nPackage: a\nDepends: b,\n c\n# a remark\n\td\nSize: 1\n\n\nPackage: e\n";
        let found: Vec<_> =
            stanzas(text).map(|s| (s.get("package"), s.get("DEPENDS"), s.get("Size"), s.get("None"))).collect();
        insta::assert_debug_snapshot!(found, @r#"
        [
            (
                Some(
                    "a",
                ),
                Some(
                    "b,\nc\nd",
                ),
                Some(
                    "1",
                ),
                None,
            ),
            (
                Some(
                    "e",
                ),
                None,
                None,
                None,
            ),
        ]
        "#);
    }

    proptest! {
        #[test]
        fn any_text_has_stanzas(text in "[a-c:# \n\t]{0,60}") {
            for stanza in stanzas(&text) {
                let _ = stanza.get("a");
            }
        }
    }
}
