//! Names and paths of which a definition means many: `libllvm*`, `/usr/share/doc/*/copyright`.

/// Whether a name is the pattern, or begins with it where that ends in an asterisk.
#[must_use]
pub fn matches_name(pattern: &str, name: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == name, |prefix| name.starts_with(prefix))
}

/// Whether a path, with or without a leading slash, is below what the pattern means, or is that itself.
#[must_use]
pub fn matches_path(pattern: &str, path: &str) -> bool {
    let mut names = path.trim_matches('/').split('/');
    pattern.trim_matches('/').split('/').all(|part| names.next().is_some_and(|name| matches_name(part, name)))
}

#[cfg(test)]
mod tests {
    use super::{matches_name, matches_path};

    #[test]
    fn an_asterisk_at_the_end_stands_for_any_ending() {
        assert!(matches_name("libllvm*", "libllvm19"));
        assert!(matches_name("perl", "perl"));
        assert!(!matches_name("perl", "perl-base"));
    }

    #[test]
    fn a_path_pattern_means_all_that_is_below() {
        for (pattern, path, expected) in [
            ("/usr/share/doc", "usr/share/doc", true),
            ("/usr/share/doc", "/usr/share/doc/libc6/README", true),
            ("/usr/share/doc", "usr/share/docs", false),
            ("/usr/share/doc", "usr/share", false),
            ("/usr/share/doc/*/copyright", "usr/share/doc/libc6/copyright", true),
            ("/usr/share/doc/*/copyright", "usr/share/doc/libc6/changelog", false),
        ] {
            assert_eq!(matches_path(pattern, path), expected, "{pattern} and {path}");
        }
    }
}
