//! The frozen encoders: the same layer gives the same compressed bytes, on any number of cores.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::num::NonZero;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};

use libdeflater::{CompressionLvl, Compressor as Deflate};
use zstd::bulk::Compressor as Zstd;

use crate::model::LayerCompression;

/// Names an encoder in the lock: format, library with version, level, block size.
pub fn encoder(compression: LayerCompression) -> &'static str {
    match compression {
        LayerCompression::Gzip => "gzip-libdeflate-1.26.1-6-4MiB",
        LayerCompression::Zstd => "zstd-1.5.7-3-4MiB",
    }
}

/// Each block is a gzip member (RFC 1952, section 2.2) or a zstd frame (RFC 8878, section 3) of its own: files of either
/// are a series of them.
const BLOCK: usize = 4 * 1024 * 1024;
const GZIP_LEVEL: i32 = 6;
const ZSTD_LEVEL: i32 = 3;
/// Bounds the memory: each core holds a block and what it becomes.
const MOST_CORES: usize = 8;
/// Blocks of one layer that may wait to be compressed or written.
const MOST_PENDING: usize = 4;

/// Compresses blocks of several layers side by side.
#[derive(Debug)]
pub(super) struct Pool {
    jobs: SyncSender<Job>,
    compression: LayerCompression,
}

impl Pool {
    pub(super) fn compression(&self) -> LayerCompression {
        self.compression
    }
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
pub(super) fn with_pool<T>(compression: LayerCompression, run: impl FnOnce(&Pool) -> T) -> T {
    with_threads(std::thread::available_parallelism().map_or(1, NonZero::get).min(MOST_CORES), compression, run)
}

fn with_threads<T>(threads: usize, compression: LayerCompression, run: impl FnOnce(&Pool) -> T) -> T {
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
                    let compressed = compress(&mut compressor, compression, &block);
                    // Nobody waits any more when the layer failed.
                    let _ = done.send(compressed.map(|member| Compressed { member, block }));
                }
            });
        }
        drop(waiting);
        run(&Pool { jobs, compression })
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

    pub(super) fn compression(&self) -> LayerCompression {
        self.pool.compression
    }

    /// Compresses what is left and gives the inner writer back.
    pub(super) fn finish(mut self) -> io::Result<W> {
        // An empty input is one empty member or frame: a file must have one.
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

/// What a thread of the pool keeps from block to block.
enum Compressor {
    Gzip(Deflate),
    Zstd(Zstd<'static>),
}

impl Compressor {
    fn new(compression: LayerCompression) -> io::Result<Self> {
        match compression {
            LayerCompression::Gzip => {
                let level = CompressionLvl::new(GZIP_LEVEL);
                let level = level.map_err(|_| io::Error::other("the compressor does not know its level"))?;
                Ok(Self::Gzip(Deflate::new(level)))
            }
            LayerCompression::Zstd => {
                let mut zstd = Zstd::new(ZSTD_LEVEL)?;
                zstd.include_checksum(true)?;
                Ok(Self::Zstd(zstd))
            }
        }
    }
}

fn compress(kept: &mut Option<Compressor>, compression: LayerCompression, block: &[u8]) -> io::Result<Vec<u8>> {
    let compressor = match kept {
        Some(compressor) => compressor,
        None => kept.insert(Compressor::new(compression)?),
    };
    match compressor {
        Compressor::Gzip(deflate) => {
            let mut member = vec![0; deflate.gzip_compress_bound(block.len())];
            let length = deflate.gzip_compress(block, &mut member).map_err(io::Error::other)?;
            member.truncate(length);
            Ok(member)
        }
        Compressor::Zstd(zstd) => zstd.compress(block),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;
    use crate::model::Sha256;

    fn write(pool: &Pool, bytes: &[u8]) -> Vec<u8> {
        let mut writer = EncodingWriter::new(pool, Vec::new());
        bytes.chunks(1_000_003).for_each(|piece| writer.write_all(piece).unwrap());
        writer.finish().unwrap()
    }

    /// Bytes that neither compress to nothing nor are random to the machine.
    fn sample(length: usize) -> Vec<u8> {
        (0..length).map(|place| ((place * place) >> 7) as u8 ^ (place / 1000) as u8).collect()
    }

    #[test]
    fn blocks_decompress_to_what_went_in() {
        for compression in LayerCompression::ALL {
            for length in [0, 1, BLOCK, BLOCK + 1, 9 * BLOCK + 17] {
                let bytes = sample(length);
                let compressed = with_pool(compression, |pool| write(pool, &bytes));
                let mut back = Vec::new();
                let read = match compression {
                    LayerCompression::Gzip => flate2::read::MultiGzDecoder::new(&compressed[..]).read_to_end(&mut back),
                    LayerCompression::Zstd => zstd::Decoder::new(&compressed[..]).unwrap().read_to_end(&mut back),
                };
                assert_eq!(read.unwrap(), bytes.len());
                if compression == LayerCompression::Gzip {
                    assert_eq!(compressed[4..8], [0; 4], "no time");
                    assert_eq!(compressed[9], 255, "no operating system");
                }
                assert!(back == bytes, "{compression} {length}");
            }
        }
    }

    #[test]
    fn cores_and_other_layers_play_no_part() {
        let layers = [sample(0), sample(3), sample(2 * BLOCK), sample(5 * BLOCK + 1)];
        for compression in LayerCompression::ALL {
            let one = |layer: &Vec<u8>| with_pool(compression, |pool| write(pool, layer));
            let alone: Vec<Vec<u8>> = layers.iter().map(one).collect();
            for threads in [1, 2, 5] {
                let together: Vec<Vec<u8>> = with_threads(threads, compression, |pool| {
                    std::thread::scope(|scope| {
                        let writers: Vec<_> =
                            layers.iter().map(|layer| scope.spawn(move || write(pool, layer))).collect();
                        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
                    })
                });
                assert!(together == alone, "{compression} {threads}");
            }
        }
    }

    #[test]
    fn the_encoders_are_frozen() {
        let frozen = [
            (LayerCompression::Gzip, "c89ca02b6f6890f201817b16c04fde99771b0d2d65c46f4ed4152e86db3521ba"),
            (LayerCompression::Zstd, "4ff9a3cec720fa947d45e83e888e20c92442e50f7932844877df503c1ebb1602"),
        ];
        for (compression, digest) in frozen {
            let bytes = with_pool(compression, |pool| write(pool, &sample(BLOCK + 100_000)));
            assert_eq!(
                Sha256::of(bytes).to_string(),
                digest,
                "{compression}: a change here breaks every recorded manifest digest"
            );
        }
    }
}
