//! An image that an engine has already, such as the official `postgres:17`, as what ours is made on.
//!
//! Its layers stay where they are: an archive may name layers that the engine has, and need not bring them. What it says about how it
//! runs is ours to say instead: its entry point would set up a data directory of its own, and its volumes would hide ours.
//!
//! <https://github.com/docker-library/docs/tree/master/postgres>

use std::collections::BTreeMap;

use crate::{
    contract::environment::PG_MAJOR,
    date::Timestamp,
    digest::Digest,
    release::{PostgresMajor, RUN_BY_AGENT},
};

/// What the names of images on a base end in.
pub const ENDING: &str = "-official";

/// An image to build on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    /// The name by which it was asked for.
    pub name: String,
    /// The major version of its PostgreSQL.
    pub major: PostgresMajor,
    /// When it was made.
    pub created: Timestamp,
    /// The digests of its layers, unpacked, from the lowest.
    pub layers: Vec<Digest>,
    /// Its environment variables.
    pub env: BTreeMap<String, String>,
}

/// An image that ours cannot be made on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnfitBase {
    /// Nothing says that it has PostgreSQL.
    #[error(
        "cannot build on image \"{name}\": its environment has no {PG_MAJOR}\nhint: take an official one, such as postgres:17"
    )]
    NoPostgres {
        /// The image.
        name: String,
    },
    /// Its PostgreSQL is too old or too new.
    #[error("cannot build on image \"{name}\": it has PostgreSQL {found}, and the agent runs {} to {}", RUN_BY_AGENT.start(), RUN_BY_AGENT.end())]
    Major {
        /// The image.
        name: String,
        /// What it says.
        found: String,
    },
    /// It is laid out otherwise, as the ones of Alpine Linux are, where the user `postgres` has another number, too.
    #[error(
        "cannot build on image \"{name}\": its PATH is \"{path}\", and Debian keeps PostgreSQL in {expected}\n\
         hint: take the Debian variant of that image; those of Alpine Linux have other paths and another user"
    )]
    NotDebian {
        /// The image.
        name: String,
        /// Where it looks for programs.
        path: String,
        /// Where they would be.
        expected: String,
    },
    /// One of its layers has a digest that is none.
    #[error("cannot build on image \"{name}\": layer \"{layer}\" has no SHA-256")]
    Layer {
        /// The image.
        name: String,
        /// The digest.
        layer: String,
    },
}

impl Base {
    /// Judges what an engine says of an image: its variables as `NAME=value`, and its layers as `sha256:…`.
    ///
    /// # Errors
    ///
    /// When ours cannot be made on it.
    pub fn of_engine(
        name: &str,
        env: &[String],
        layers: &[String],
        created: Option<Timestamp>,
    ) -> Result<Base, UnfitBase> {
        let name = name.to_owned();
        let env: BTreeMap<String, String> = env
            .iter()
            .filter_map(|v| v.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let Some(found) = env.get(PG_MAJOR) else { return Err(UnfitBase::NoPostgres { name }) };
        let Some(major) = found.parse().ok().and_then(PostgresMajor::run_by_agent) else {
            return Err(UnfitBase::Major { name, found: found.clone() });
        };
        let expected = format!("/usr/lib/postgresql/{major}/bin");
        let path = env.get("PATH").cloned().unwrap_or_default();
        if path.split(':').all(|directory| directory != expected) {
            return Err(UnfitBase::NotDebian { name, path, expected });
        }
        let digest = |layer: &String| {
            let digest = layer.strip_prefix("sha256:").and_then(|digest| digest.parse().ok());
            digest.ok_or_else(|| UnfitBase::Layer { name: name.clone(), layer: layer.clone() })
        };
        let layers = layers.iter().map(digest).collect::<Result<_, _>>()?;
        Ok(Base { name, major, created: created.unwrap_or(Timestamp(0)), layers, env })
    }
}

#[cfg(test)]
mod tests {
    use super::Base;

    const LAYER: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn judged(env: &[&str], layer: &str) -> String {
        let env: Vec<String> = env.iter().map(|&variable| variable.to_owned()).collect();
        match Base::of_engine("postgres:17", &env, &[layer.to_owned()], None) {
            Ok(base) => format!("PostgreSQL {} on {} layers", base.major, base.layers.len()),
            Err(unfit) => unfit.to_string(),
        }
    }

    #[test]
    fn the_official_images_are_fit_unless_they_are_of_alpine_linux() {
        let debian = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/lib/postgresql/17/bin";
        let alpine = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        let pgdata = "PGDATA=/var/lib/postgresql/data";
        insta::assert_snapshot!(judged(&[debian, "LANG=en_US.utf8", "PG_MAJOR=17", pgdata], LAYER), @"PostgreSQL 17 on 1 layers");
        insta::assert_snapshot!(judged(&[alpine, "LANG=en_US.utf8", "PG_MAJOR=17", pgdata], LAYER), @r#"
        cannot build on image "postgres:17": its PATH is "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", and Debian keeps PostgreSQL in /usr/lib/postgresql/17/bin
        hint: take the Debian variant of that image; those of Alpine Linux have other paths and another user
        "#);
        insta::assert_snapshot!(judged(&[debian, "PG_MAJOR=14"], LAYER), @r#"cannot build on image "postgres:17": it has PostgreSQL 14, and the agent runs 15 to 18"#);
        insta::assert_snapshot!(judged(&[debian], LAYER), @r#"
        cannot build on image "postgres:17": its environment has no PG_MAJOR
        hint: take an official one, such as postgres:17
        "#);
        insta::assert_snapshot!(judged(&[debian, "PG_MAJOR=17"], "md5:1"), @r#"cannot build on image "postgres:17": layer "md5:1" has no SHA-256"#);
    }
}
