//! Whether a program brings all that it needs.
//!
//! <https://refspecs.linuxfoundation.org/elf/gabi4+/ch5.pheader.html>

/// The type of the program header that names the dynamic linker.
const PT_INTERP: u32 = 3;

/// A file that is not a program for 64-bit machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an ELF file for 64-bit machines")]
pub struct NotElf;

/// Whether a program names a dynamic linker, which has to be there to start it. A static one does not.
///
/// # Errors
///
/// When it is not an ELF file, or one for 32-bit machines.
pub fn names_interpreter(file: &[u8]) -> Result<bool, NotElf> {
    let little_endian = match file.get(..6) {
        Some([0x7f, b'E', b'L', b'F', 2, data]) => *data == 1,
        _ => return Err(NotElf),
    };
    let number = |offset: usize, length: usize| {
        let bytes = file.get(offset..offset.checked_add(length)?)?;
        let append = |value: usize, byte: &u8| value.checked_mul(256)?.checked_add(usize::from(*byte));
        if little_endian { bytes.iter().rev().try_fold(0, append) } else { bytes.iter().try_fold(0, append) }
    };
    let headers = (number(32, 8).ok_or(NotElf)?, number(54, 2).ok_or(NotElf)?, number(56, 2).ok_or(NotElf)?);
    let (start, size, count) = headers;
    for index in 0..count {
        let kind = start.checked_add(index * size).and_then(|offset| number(offset, 4)).ok_or(NotElf)?;
        if kind == PT_INTERP as usize {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use std::{env, fs};

    use proptest::prelude::*;

    use super::{NotElf, names_interpreter};

    fn program(kind: u8) -> Vec<u8> {
        let mut file = vec![0; 128];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        (file[32], file[54], file[56], file[64]) = (64, 56, 1, kind);
        file
    }

    #[test]
    fn an_interpreter_is_found() {
        assert_eq!(names_interpreter(&program(3)), Ok(true));
        assert_eq!(names_interpreter(&program(1)), Ok(false));
        assert_eq!(names_interpreter(&program(3)[..65]), Err(NotElf));
        assert_eq!(names_interpreter(b"#!/bin/sh"), Err(NotElf));
    }

    #[test]
    fn this_test_is_a_program() {
        assert!(names_interpreter(&fs::read(env::current_exe().unwrap()).unwrap()).is_ok());
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_program_or_none(mut bytes in prop::collection::vec(any::<u8>(), 6..200)) {
            bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
            let _ = names_interpreter(&bytes);
        }
    }
}
