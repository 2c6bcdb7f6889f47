//! The frozen encoder: the same layer gives the same compressed bytes, on any number of cores.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::num::NonZero;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};

use libdeflater::{CompressionLvl, Compressor};

/// Names the encoder in the lock: format, library with version, level, block size.
pub const ENCODER: &str = "gzip-libdeflate-1.26.1-6-4MiB";

/// Each block is a gzip member of its own (RFC 1952, section 2.2: a file is a series of members).
const BLOCK: usize = 4 * 1024 * 1024;
const LEVEL: i32 = 6;
/// Bounds the memory: each core holds a block and what it becomes.
const MOST_CORES: usize = 8;
/// Blocks of one layer that may wait to be compressed or written.
const MOST_PENDING: usize = 4;

/// Compresses blocks of several layers side by side.
#[derive(Debug)]
pub(super) struct Pool {
    jobs: SyncSender<Job>,
}

#[derive(Debug)]
struct Job {
    block: Vec<u8>,
    done: SyncSender<io::Result<Compressed>>,
}

#[derive(Debug)]
struct Compressed {
    member: Vec<u8>,
    /// The block's buffer, to be filled again.
    block: Vec<u8>,
}

/// Runs something that compresses, with threads for it.
pub(super) fn with_pool<T>(run: impl FnOnce(&Pool) -> T) -> T {
    with_threads(std::thread::available_parallelism().map_or(1, NonZero::get).min(MOST_CORES), run)
}

fn with_threads<T>(threads: usize, run: impl FnOnce(&Pool) -> T) -> T {
    std::thread::scope(|scope| {
        let (jobs, waiting) = sync_channel::<Job>(threads);
        let waiting = std::sync::Arc::new(Mutex::new(waiting));
        for _ in 0..threads {
            let waiting = std::sync::Arc::clone(&waiting);
            scope.spawn(move || {
                let mut compressor = None;
                loop {
                    let job = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok(Job { block, done }) = job else { break };
                    let compressed = compress(&mut compressor, &block);
                    // Nobody waits any more when the layer failed.
                    let _ = done.send(compressed.map(|member| Compressed { member, block }));
                }
            });
        }
        drop(waiting);
        run(&Pool { jobs })
    })
}

/// A writer whose bytes are compressed into another, blocks side by side, in their order.
#[derive(Debug)]
pub(super) struct EncodingWriter<'a, W: Write> {
    pool: &'a Pool,
    block: Vec<u8>,
    pending: VecDeque<Receiver<io::Result<Compressed>>>,
    is_empty: bool,
    out: W,
}

impl<'a, W: Write> EncodingWriter<'a, W> {
    pub(super) fn new(pool: &'a Pool, out: W) -> Self {
        Self { pool, block: Vec::new(), pending: VecDeque::new(), is_empty: true, out }
    }

    /// Compresses what is left and gives the inner writer back.
    pub(super) fn finish(mut self) -> io::Result<W> {
        // An empty input is one empty member: a gzip file must have one.
        if self.is_empty || !self.block.is_empty() {
            self.submit()?;
        }
        while !self.pending.is_empty() {
            self.write_first()?;
        }
        Ok(self.out)
    }

    fn submit(&mut self) -> io::Result<()> {
        self.is_empty = false;
        let block = std::mem::take(&mut self.block);
        let (done, receiver) = sync_channel(1);
        self.pool.jobs.send(Job { block, done }).map_err(|_| ended())?;
        self.pending.push_back(receiver);
        if self.pending.len() >= MOST_PENDING {
            self.write_first()?;
        }
        Ok(())
    }

    fn write_first(&mut self) -> io::Result<()> {
        let Some(first) = self.pending.pop_front() else { return Ok(()) };
        let Compressed { member, mut block } = first.recv().map_err(|_| ended())??;
        self.out.write_all(&member)?;
        if self.block.capacity() == 0 {
            block.clear();
            self.block = block;
        }
        Ok(())
    }
}

impl<W: Write> Write for EncodingWriter<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.block.capacity() == 0 {
            self.block.reserve_exact(BLOCK);
        }
        let length = bytes.len().min(BLOCK - self.block.len());
        self.block.extend_from_slice(&bytes[..length]);
        if self.block.len() == BLOCK {
            self.submit()?;
        }
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn ended() -> io::Error {
    io::Error::other("the compressor ended early")
}

/// Compresses all of `file` into `out`. Calls `each` with the number of bytes that were read.
pub(super) fn encode<W: Write>(mut file: impl Read, out: W, mut each: impl FnMut(u64)) -> io::Result<W> {
    with_pool(|pool| {
        let mut writer = EncodingWriter::new(pool, out);
        let copied = crate::base::fs::copy_with(&mut file, &mut writer, |piece| each(piece.len() as u64));
        copied.and_then(|_| writer.finish())
    })
}

fn compress(kept: &mut Option<Compressor>, block: &[u8]) -> io::Result<Vec<u8>> {
    let compressor = match kept {
        Some(compressor) => compressor,
        None => {
            let level = CompressionLvl::new(LEVEL);
            kept.insert(Compressor::new(level.map_err(|_| io::Error::other("the compressor does not know its level"))?))
        }
    };
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
        encode(&file, Vec::new(), |_| {}).unwrap()
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
    fn cores_and_other_layers_play_no_part() {
        let layers = [sample(0), sample(3), sample(2 * BLOCK), sample(5 * BLOCK + 1)];
        let alone: Vec<Vec<u8>> = layers.iter().map(|layer| encoded(layer)).collect();
        for threads in [1, 2, 5] {
            let together: Vec<Vec<u8>> = with_threads(threads, |pool| {
                std::thread::scope(|scope| {
                    let write = |layer: &[u8]| {
                        let mut writer = EncodingWriter::new(pool, Vec::new());
                        layer.chunks(1_000_003).for_each(|piece| writer.write_all(piece).unwrap());
                        writer.finish().unwrap()
                    };
                    let writers: Vec<_> = layers.iter().map(|layer| scope.spawn(move || write(layer))).collect();
                    writers.into_iter().map(|writer| writer.join().unwrap()).collect()
                })
            });
            assert!(together == alone, "{threads}");
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
