//! What is in a package file: an `ar` archive of two compressed tars.
//!
//! <https://manpages.debian.org/trixie/dpkg-dev/deb.5.en.html>

use std::io::{self, Read};

/// An unpacked package file.
#[derive(Debug)]
pub struct Deb {
    /// The stanza that describes the package, as dpkg's status has it.
    pub control: String,
    /// The tar of its files.
    pub data: Vec<u8>,
}

/// A file that is no package, or one that is packed in a way that is not known here.
#[derive(Debug, thiserror::Error)]
pub enum DebError {
    /// It is not made of the parts that a package has.
    #[error("not a Debian package: {0}")]
    Malformed(&'static str),
    /// A part is compressed with something else than xz, gzip or nothing.
    #[error("cannot unpack {0}: known are .tar, .tar.gz and .tar.xz")]
    Compression(String),
    /// A part cannot be decompressed or read.
    #[error("cannot unpack {member}")]
    Unpack {
        /// The part.
        member: String,
        /// Why.
        source: io::Error,
    },
}

impl Deb {
    /// Unpacks a package file.
    ///
    /// # Errors
    ///
    /// When it is no package, or is compressed with something that is not known here.
    pub fn unpack(bytes: &[u8]) -> Result<Deb, DebError> {
        let (mut control, mut data) = (None, None);
        for member in members(bytes)? {
            if member.0.starts_with("control.tar") {
                control = Some(read_control(&decompress(member)?)?);
            } else if member.0.starts_with("data.tar") {
                data = Some(decompress(member)?);
            }
        }
        Ok(Deb {
            control: control.ok_or(DebError::Malformed("it has no control.tar"))?,
            data: data.ok_or(DebError::Malformed("it has no data.tar"))?,
        })
    }
}

/// The members of an `ar` archive: 60 bytes of header, then the content, padded to an even length.
fn members(bytes: &[u8]) -> Result<Vec<(String, &[u8])>, DebError> {
    let mut rest = bytes.strip_prefix(b"!<arch>\n").ok_or(DebError::Malformed("it is no ar archive"))?;
    let mut members = Vec::new();
    while !rest.is_empty() {
        let (header, content) = rest.split_at_checked(60).ok_or(DebError::Malformed("it ends within a header"))?;
        let text = |range: &[u8]| String::from_utf8_lossy(range).trim_end_matches([' ', '/']).to_owned();
        let size: usize =
            text(&header[48..58]).parse().map_err(|_| DebError::Malformed("the size of a member is no number"))?;
        let (content, padding) =
            content.split_at_checked(size).ok_or(DebError::Malformed("it ends within a member"))?;
        members.push((text(&header[..16]), content));
        rest = padding.get(size % 2..).unwrap_or_default();
    }
    Ok(members)
}

fn decompress((name, content): (String, &[u8])) -> Result<Vec<u8>, DebError> {
    let mut bytes = Vec::new();
    let result = match name.split_once(".tar").map(|(_, compression)| compression) {
        Some("") => content.to_vec().as_slice().read_to_end(&mut bytes),
        Some(".gz") => flate2::read::GzDecoder::new(content).read_to_end(&mut bytes),
        Some(".xz") => liblzma::read::XzDecoder::new(content).read_to_end(&mut bytes),
        _ => return Err(DebError::Compression(name)),
    };
    result.map_err(|source| DebError::Unpack { member: name, source })?;
    Ok(bytes)
}

fn read_control(tar: &[u8]) -> Result<String, DebError> {
    let failed = |source| DebError::Unpack { member: "control".to_owned(), source };
    for entry in tar::Archive::new(tar).entries().map_err(failed)? {
        let mut entry = entry.map_err(failed)?;
        if matches!(&*entry.path_bytes(), b"control" | b"./control") {
            let mut control = String::new();
            entry.read_to_string(&mut control).map_err(failed)?;
            return Ok(control);
        }
    }
    Err(DebError::Malformed("its control.tar has no control file"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Deb;

    const XZ: &[u8] = include_bytes!("../tests/archive/debian/pool/hello_1.0-1_amd64.deb");
    const GZIP: &[u8] = include_bytes!("../tests/archive/debian/pool/libhello_1.0-1_amd64.deb");

    #[test]
    fn packages_are_unpacked_however_they_are_compressed() {
        for (file, name) in [(XZ, "hello"), (GZIP, "libhello")] {
            let deb = Deb::unpack(file).unwrap();
            assert!(deb.control.starts_with(&format!("Package: {name}\n")));
            assert!(tar::Archive::new(&deb.data[..]).entries().unwrap().count() > 3);
        }
    }

    #[test]
    fn what_is_no_package_is_refused() {
        let zstd = String::from_utf8_lossy(&XZ[8..68]).replace("debian-binary", "data.tar.zst ");
        let zstd = [b"!<arch>\n", zstd.as_bytes(), b"2.0\n"].concat();
        for (file, expected) in [
            (&b""[..], "not a Debian package: it is no ar archive"),
            (b"!<arch>\n", "not a Debian package: it has no control.tar"),
            (&XZ[..60], "not a Debian package: it ends within a header"),
            (&XZ[..XZ.len() - 1], "not a Debian package: it ends within a member"),
            (&zstd, "cannot unpack data.tar.zst: known are .tar, .tar.gz and .tar.xz"),
        ] {
            assert_eq!(Deb::unpack(file).unwrap_err().to_string(), expected);
        }
    }

    proptest! {
        #[test]
        fn a_damaged_package_is_one_or_an_error(position in 0..XZ.len(), byte: u8) {
            let mut file = XZ.to_vec();
            file[position] = byte;
            let _ = Deb::unpack(&file);
        }
    }
}
