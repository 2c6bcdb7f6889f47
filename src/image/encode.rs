//! The frozen encoder: the same layer gives the same compressed bytes, on any number of cores.

use std::fs::File;
use std::io::{self, Read, Write};
use std::num::NonZero;

use libdeflater::{CompressionLvl, Compressor};

/// Names the encoder in the lock: format, library with version, level, block size.
pub const ENCODER: &str = "gzip-libdeflate-1.26.1-6-4MiB";

/// Each block is a gzip member of its own (RFC 1952, section 2.2: a file is a series of members).
const BLOCK: usize = 4 * 1024 * 1024;
const LEVEL: i32 = 6;
/// Bounds the memory: each core holds two blocks and what they become.
const MOST_CORES: usize = 8;

/// Compresses all of `file` into `out`, blocks side by side, written in their order. Calls `each` with the number of bytes
/// that were read.
pub(super) fn encode(file: &File, out: &mut impl Write, each: impl Fn(u64)) -> io::Result<()> {
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get).min(MOST_CORES);
    let mut reader = file;
    let mut is_first = true;
    loop {
        let blocks = read_blocks(&mut reader, 2 * cores)?;
        if blocks.is_empty() && !is_first {
            return Ok(());
        }
        // An empty input is one empty member: a gzip file must have one.
        let blocks = if blocks.is_empty() { vec![Vec::new()] } else { blocks };
        is_first = false;
        for (compressed, block) in compress_blocks(&blocks, cores)?.into_iter().zip(&blocks) {
            out.write_all(&compressed)?;
            each(block.len() as u64);
        }
    }
}

/// Up to `most` blocks; fewer, or none, at the end.
fn read_blocks(reader: &mut impl Read, most: usize) -> io::Result<Vec<Vec<u8>>> {
    let mut blocks = Vec::new();
    while blocks.len() < most {
        let mut block = Vec::with_capacity(BLOCK);
        reader.by_ref().take(BLOCK as u64).read_to_end(&mut block)?;
        if block.is_empty() {
            break;
        }
        blocks.push(block);
    }
    Ok(blocks)
}

fn compress_blocks(blocks: &[Vec<u8>], cores: usize) -> io::Result<Vec<Vec<u8>>> {
    let share = blocks.len().div_ceil(cores).max(1);
    std::thread::scope(|scope| {
        let workers: Vec<_> = blocks
            .chunks(share)
            .map(|chunk| scope.spawn(move || chunk.iter().map(|block| compress(block)).collect::<io::Result<Vec<_>>>()))
            .collect();
        let mut compressed = Vec::with_capacity(blocks.len());
        for worker in workers {
            compressed.extend(worker.join().map_err(|_| io::Error::other("the compressor failed"))??);
        }
        Ok(compressed)
    })
}

fn compress(block: &[u8]) -> io::Result<Vec<u8>> {
    let level = CompressionLvl::new(LEVEL).map_err(|_| io::Error::other("the compressor does not know its level"))?;
    let mut compressor = Compressor::new(level);
    let mut member = vec![0; compressor.gzip_compress_bound(block.len())];
    let length = compressor.gzip_compress(block, &mut member).map_err(io::Error::other)?;
    member.truncate(length);
    Ok(member)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Sha256;

    fn encoded(bytes: &[u8]) -> Vec<u8> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        io::Seek::rewind(&mut file).unwrap();
        let mut out = Vec::new();
        encode(&file, &mut out, |_| {}).unwrap();
        out
    }

    /// Bytes that neither compress to nothing nor are random to the machine.
    fn sample(length: usize) -> Vec<u8> {
        (0..length).map(|place| ((place * place) >> 7) as u8 ^ (place / 1000) as u8).collect()
    }

    #[test]
    fn members_decompress_to_what_went_in() {
        for length in [0, 1, BLOCK, BLOCK + 1, 9 * BLOCK + 17] {
            let bytes = sample(length);
            let compressed = encoded(&bytes);
            let mut back = Vec::new();
            flate2::read::MultiGzDecoder::new(&compressed[..]).read_to_end(&mut back).unwrap();
            assert!(back == bytes, "{length}");
            assert_eq!(compressed[4..8], [0; 4], "no time");
            assert_eq!(compressed[9], 255, "no operating system");
        }
    }

    #[test]
    fn cores_play_no_part() {
        let blocks: Vec<Vec<u8>> = sample(5 * 100_000).chunks(100_000).map(<[u8]>::to_vec).collect();
        let one = compress_blocks(&blocks, 1).unwrap();
        for cores in 2..8 {
            assert_eq!(compress_blocks(&blocks, cores).unwrap(), one);
        }
    }

    #[test]
    fn the_encoder_is_frozen() {
        let digest = Sha256::of(encoded(&sample(BLOCK + 100_000)));
        assert_eq!(
            digest.to_string(),
            "c89ca02b6f6890f201817b16c04fde99771b0d2d65c46f4ed4152e86db3521ba",
            "a change here breaks every recorded manifest digest"
        );
    }
}
