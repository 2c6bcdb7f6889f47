//! One `.deb`, read once: its control files into memory, the contents of its files into a scratch file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use ::tar::EntryType;
use md5::Digest as _;

use super::control::{Conffile, Paragraph};
use super::error::AptAssembleError;
use crate::base::archive::{self, ArEntry};
use crate::lock::AptPin;
use crate::store::Store;

/// The most that a control member may hold in bytes; real ones are a tenth of it.
const CONTROL_MAX: u64 = 32 << 20;

/// What a package brings.
#[derive(Debug)]
pub(super) struct Deb {
    pub name: String,
    pub version: String,
    pub architecture: String,
    /// Its control file, parsed.
    pub control: Paragraph,
    /// All of its control files by name, `control` among them.
    pub files: BTreeMap<String, ControlFile>,
    pub conffiles: Vec<Conffile>,
    /// Its members in the order in which dpkg unpacks them: symbolic links last (dpkg, lib/dpkg/tarfn.c).
    pub members: Vec<Member>,
    /// The MD5 of each file by its path, when the package brings no `md5sums` of its own: dpkg then writes them itself.
    pub md5sums: Option<BTreeMap<Vec<u8>, String>>,
}

/// A control file such as `postinst`.
#[derive(Debug)]
pub(super) struct ControlFile {
    pub mode: u32,
    pub bytes: Vec<u8>,
}

/// A file, directory or link of a package.
#[derive(Debug)]
pub(super) struct Member {
    /// Relative to the root, without `./` and without a slash at its end; empty for the root itself.
    pub path: Vec<u8>,
    pub kind: MemberKind,
    pub mode: u32,
    pub uid: u64,
    pub gid: u64,
}

/// What a member is.
#[derive(Debug)]
pub(super) enum MemberKind {
    Directory,
    File(Extent),
    Symlink(Vec<u8>),
    /// The path of a member before it, written as `path` is.
    HardLink(Vec<u8>),
    Fifo,
}

/// A piece of a scratch file.
#[derive(Clone, Debug)]
pub(super) struct Extent {
    file: Arc<File>,
    offset: u64,
    /// Its length in bytes.
    pub size: u64,
}

impl Extent {
    /// Reads the piece from its start.
    pub fn reader(&self) -> impl Read + use<> {
        ExtentReader { extent: self.clone(), done: 0 }
    }
}

struct ExtentReader {
    extent: Extent,
    done: u64,
}

impl Read for ExtentReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.extent.size - self.done).unwrap_or(usize::MAX).min(buffer.len());
        if left == 0 {
            return Ok(0);
        }
        let length = self.extent.file.read_at(&mut buffer[..left], self.extent.offset + self.done)?;
        self.done += length as u64;
        Ok(length)
    }
}

/// A scratch file without a name that takes the contents of packages one after the other.
#[derive(Debug)]
pub(super) struct Spool {
    out: BufWriter<File>,
    file: Arc<File>,
    length: u64,
}

impl Spool {
    /// Takes a file that is open for reading and writing.
    pub fn new(file: File) -> io::Result<Self> {
        Ok(Self { out: BufWriter::with_capacity(1 << 20, file.try_clone()?), file: Arc::new(file), length: 0 })
    }

    fn take(&mut self, content: &mut impl Read) -> io::Result<Extent> {
        let size = io::copy(content, &mut self.out)?;
        let extent = Extent { file: Arc::clone(&self.file), offset: self.length, size };
        self.length += size;
        Ok(extent)
    }
}

/// A reason that becomes an [`AptAssembleError::Invalid`].
pub(super) type Flaw = String;

impl Deb {
    /// Reads the package of a pin: verified against the locked hash by the store, then against the pin by what it says of itself.
    pub fn read(pin: &AptPin, store: &Store, spool: &mut Spool) -> Result<Self, AptAssembleError> {
        let invalid =
            |why: Flaw| AptAssembleError::Invalid { package: pin.name.clone(), version: pin.version.clone(), why };
        let mut file = store.open_blob(&pin.artifact.sha256).map_err(|source| AptAssembleError::Store {
            package: pin.name.clone(),
            version: pin.version.clone(),
            source: Box::new(source),
        })?;
        let (control, data) = find_parts(&mut file).map_err(invalid)?;
        let files = read_control(part(&mut file, &control).map_err(invalid)?).map_err(invalid)?;
        let paragraph = control_paragraph(&files).map_err(invalid)?;
        check_identity(pin, &paragraph)?;
        let members = read_members(part(&mut file, &data).map_err(invalid)?, spool).map_err(invalid)?;
        spool.out.flush().map_err(|source| AptAssembleError::Write { source })?;
        let conffiles = match files.get("conffiles") {
            Some(file) => Conffile::parse_all(&String::from_utf8_lossy(&file.bytes)).map_err(invalid)?,
            None => Vec::new(),
        };
        let field = |name| paragraph.get(name).unwrap_or_default().to_owned();
        Ok(Self {
            name: field("Package"),
            version: field("Version"),
            architecture: field("Architecture"),
            control: paragraph,
            conffiles,
            md5sums: if files.contains_key("md5sums") { None } else { Some(md5sums(&members).map_err(invalid)?) },
            files,
            members,
        })
    }

    /// How dpkg names it where two architectures could be meant: `libc6:amd64` when it is `Multi-Arch: same`.
    pub fn id(&self) -> String {
        match self.control.get("Multi-Arch") {
            Some("same") => format!("{}:{}", self.name, self.architecture),
            _ => self.name.clone(),
        }
    }
}

/// The control and the data member of a `.deb` (deb(5)): after `debian-binary`, in this order, others between them starting with `_`.
pub(super) fn find_parts(file: &mut File) -> Result<(ArEntry, ArEntry), Flaw> {
    let entries = archive::ar_entries(file).map_err(|error| error.to_string())?;
    let mut entries = entries.into_iter();
    let binary =
        entries.next().filter(|entry| entry.name == "debian-binary").ok_or("its first part is not `debian-binary`")?;
    let mut format = String::new();
    part(file, &binary)?.take(64).read_to_string(&mut format).map_err(|error| error.to_string())?;
    if !format.starts_with("2.") {
        return Err(format!("its format `{}` is not 2.x", format.trim()));
    }
    let mut named = |what: &str| {
        let entry = entries.find(|entry| !entry.name.starts_with('_')).filter(|entry| entry.name.starts_with(what));
        entry.ok_or_else(|| format!("it has no part `{what}`"))
    };
    Ok((named("control.tar")?, named("data.tar")?))
}

/// The bytes of a part of a `.deb`.
pub(super) fn part<'a>(file: &'a mut File, entry: &ArEntry) -> Result<impl Read + Send + use<'a>, Flaw> {
    file.seek(SeekFrom::Start(entry.offset)).map_err(|error| error.to_string())?;
    Ok(BufReader::with_capacity(128 << 10, file.take(entry.size)))
}

type Unpacked<'a> = ::tar::Archive<BufReader<Box<dyn Read + Send + 'a>>>;

fn unpack<'a>(reader: impl Read + Send + 'a) -> Result<Unpacked<'a>, Flaw> {
    let plain = archive::decompress(reader).map_err(|error| error.to_string())?;
    Ok(::tar::Archive::new(BufReader::with_capacity(128 << 10, plain)))
}

fn read_control(reader: impl Read + Send) -> Result<BTreeMap<String, ControlFile>, Flaw> {
    let mut archive = unpack(reader)?;
    let mut files = BTreeMap::new();
    for entry in archive.entries().map_err(|error| error.to_string())? {
        let mut entry = entry.map_err(|error| error.to_string())?;
        let path = member_path(&entry.path_bytes())?;
        if entry.header().entry_type().is_dir() && path.is_empty() {
            continue;
        }
        let name = String::from_utf8(path).map_err(|_| "a control file's name is not text")?;
        // dpkg leaves names with a dot out, so a file of such a name would silently be lost.
        if !entry.header().entry_type().is_file()
            || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b))
        {
            return Err(format!("its control part holds `{name}`, which is no control file"));
        }
        if name == "list" || entry.size() > CONTROL_MAX {
            return Err(format!("its control file `{name}` is not one that a package may bring"));
        }
        let mode = entry.header().mode().map_err(|error| error.to_string())? & 0o7777;
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).map_err(|error| error.to_string())?;
        if files.insert(name.clone(), ControlFile { mode, bytes }).is_some() {
            return Err(format!("its control file `{name}` is there twice"));
        }
    }
    Ok(files)
}

fn control_paragraph(files: &BTreeMap<String, ControlFile>) -> Result<Paragraph, Flaw> {
    let bytes = &files.get("control").ok_or("it has no control file")?.bytes;
    let text = std::str::from_utf8(bytes).map_err(|_| "its control file is not UTF-8")?;
    let mut paragraphs = Paragraph::parse_all(text).map_err(|why| format!("its control file: {why}"))?;
    match (paragraphs.pop(), paragraphs.is_empty()) {
        (Some(paragraph), true) => Ok(paragraph),
        _ => Err("its control file has not exactly one paragraph".into()),
    }
}

fn check_identity(pin: &AptPin, control: &Paragraph) -> Result<(), AptAssembleError> {
    let fields = [
        ("Package", pin.name.as_str()),
        ("Version", pin.version.as_str()),
        ("Architecture", pin.architecture.as_str()),
    ];
    for (field, locked) in fields {
        let found = control.get(field).unwrap_or_default();
        if found != locked {
            let (locked, found) = (locked.to_owned(), found.to_owned());
            return Err(AptAssembleError::Mismatch { package: pin.name.clone(), field, locked, found });
        }
    }
    Ok(())
}

fn read_members(reader: impl Read + Send, spool: &mut Spool) -> Result<Vec<Member>, Flaw> {
    let mut archive = unpack(reader)?;
    let mut members = Vec::new();
    let mut symlinks = Vec::new();
    for entry in archive.entries().map_err(|error| error.to_string())? {
        let member = read_member(entry.map_err(|error| error.to_string())?, spool)?;
        match member.kind {
            MemberKind::Symlink(_) => symlinks.push(member),
            _ => members.push(member),
        }
    }
    // To the end of the compressed stream, where its own integrity check is.
    io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(|error| error.to_string())?;
    members.append(&mut symlinks);
    Ok(members)
}

fn md5sums(members: &[Member]) -> Result<BTreeMap<Vec<u8>, String>, Flaw> {
    let mut sums: BTreeMap<Vec<u8>, String> = BTreeMap::new();
    for member in members {
        let sum = match &member.kind {
            MemberKind::File(extent) => {
                let mut hasher = md5::Md5::new();
                let mut reader = extent.reader();
                let mut buffer = vec![0; 128 << 10];
                loop {
                    match reader.read(&mut buffer).map_err(|error| error.to_string())? {
                        0 => break,
                        length => hasher.update(&buffer[..length]),
                    }
                }
                Some(hex::encode(hasher.finalize()))
            }
            MemberKind::HardLink(target) => sums.get(target).cloned(),
            MemberKind::Directory | MemberKind::Symlink(_) | MemberKind::Fifo => None,
        };
        sums.extend(sum.map(|sum| (member.path.clone(), sum)));
    }
    Ok(sums)
}

fn read_member(mut entry: ::tar::Entry<'_, impl Read>, spool: &mut Spool) -> Result<Member, Flaw> {
    let failed = |error: io::Error| error.to_string();
    let path = member_path(&entry.path_bytes())?;
    let shown = String::from_utf8_lossy(&path).into_owned();
    if entry.pax_extensions().map_err(failed)?.is_some() {
        return Err(format!("`{shown}` has an extended header, which dpkg does not know"));
    }
    let link = entry.link_name_bytes().unwrap_or_default().into_owned();
    let directory_by_name = entry.path_bytes().ends_with(b"/");
    let kind = match entry.header().entry_type() {
        EntryType::Directory => MemberKind::Directory,
        EntryType::Regular if directory_by_name => MemberKind::Directory,
        EntryType::Regular => MemberKind::File(spool.take(&mut entry).map_err(failed)?),
        EntryType::Symlink if !link.is_empty() && !link.contains(&0) => MemberKind::Symlink(link),
        EntryType::Link => MemberKind::HardLink(member_path(&link)?),
        EntryType::Fifo => MemberKind::Fifo,
        EntryType::Char | EntryType::Block => return Err(format!("it brings the device `{shown}`")),
        other => return Err(format!("`{shown}` is of a kind that dpkg does not know ({other:?})")),
    };
    let header = entry.header();
    Ok(Member {
        path,
        kind,
        mode: header.mode().map_err(failed)? & 0o7777,
        uid: header.uid().map_err(failed)?,
        gid: header.gid().map_err(failed)?,
    })
}

/// A member's path in its one form; absolute paths, `..` and line breaks are refused.
fn member_path(raw: &[u8]) -> Result<Vec<u8>, Flaw> {
    let shown = || String::from_utf8_lossy(raw).into_owned();
    let trimmed = raw.strip_prefix(b"./").unwrap_or(raw);
    let trimmed = trimmed.strip_suffix(b"/").unwrap_or(trimmed);
    if trimmed.is_empty() || trimmed == b"." {
        return if raw.starts_with(b"/") || raw.is_empty() {
            Err(format!("it brings the path `{}`", shown()))
        } else {
            Ok(Vec::new())
        };
    }
    if trimmed.split(|byte| *byte == b'/').any(|part| matches!(part, b"" | b"." | b"..")) {
        return Err(format!(
            "it brings the path `{}`, which leads out of the root or is not in its plain form",
            shown()
        ));
    }
    if trimmed.iter().any(|byte| matches!(byte, 0 | b'\n')) {
        return Err(format!("it brings the path `{}`, which has a line break", shown()));
    }
    Ok(trimmed.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_have_one_form_or_are_refused() {
        for (raw, plain) in [("./usr/bin/", "usr/bin"), ("./", ""), ("usr", "usr"), (".", "")] {
            assert_eq!(member_path(raw.as_bytes()).unwrap(), plain.as_bytes(), "{raw}");
        }
        for raw in ["/etc/passwd", "../x", "./a/../../x", "a//b", "./a/./b", "a\nb", "", "/", "./.."] {
            assert!(member_path(raw.as_bytes()).is_err(), "{raw}");
        }
    }
}
