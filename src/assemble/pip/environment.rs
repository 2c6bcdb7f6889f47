//! The environment without packages: where things go, the interpreter's links, `pyvenv.cfg`, and how byte code is made.

use std::io::Write;

use super::tree::Tree;
use super::{PipAssembleError, VenvSpec};

/// Where the parts of an environment are, as absolute paths.
#[derive(Debug)]
pub(super) struct Layout {
    /// The environment itself.
    pub(super) root: String,
    /// Scripts.
    pub(super) bin: String,
    /// Modules, of both kinds.
    pub(super) site_packages: String,
    /// The environment's own interpreter, as it stands after `#!`.
    pub(super) python: String,
    /// Major and minor version, `3.13`.
    pub(super) version: String,
    include: String,
    full_version: String,
    executable: String,
}

impl Layout {
    pub(super) fn new(spec: &VenvSpec<'_>) -> Result<Self, PipAssembleError> {
        let root = checked(spec.path)?;
        let executable = checked(spec.executable)?;
        let version = format!("{}.{}", spec.python.0, spec.python.1);
        Ok(Self {
            bin: format!("{root}/bin"),
            site_packages: format!("{root}/lib/python{version}/site-packages"),
            python: format!("{root}/bin/python"),
            include: format!("{root}/include/python{version}"),
            full_version: spec.python_version.to_owned(),
            version,
            root,
            executable,
        })
    }

    /// Where a `.data` directory's part goes (PEP 427), for the project of this name.
    pub(super) fn scheme(&self, key: &str, project: &str) -> Option<String> {
        match key {
            "purelib" | "platlib" => Some(self.site_packages.clone()),
            "scripts" => Some(self.bin.clone()),
            "headers" => Some(format!("{}/include/site/python{}/{project}", self.root, self.version)),
            "data" => Some(self.root.clone()),
            _ => None,
        }
    }
}

/// An absolute path in its one plain form.
fn checked(path: &str) -> Result<String, PipAssembleError> {
    let plain = path.strip_prefix('/').is_some_and(|rest| {
        rest.split('/').all(|part| !matches!(part, "" | "." | ".."))
            && rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-+@".contains(&byte))
    });
    if plain { Ok(path.to_owned()) } else { Err(PipAssembleError::Path { path: path.to_owned() }) }
}

/// Writes what `python -m venv --without-pip` leaves.
pub(super) fn write_skeleton<W: Write>(layout: &Layout, tree: &mut Tree<'_, W>) -> Result<(), PipAssembleError> {
    let (home, own) = layout.executable.rsplit_once('/').unwrap_or(("", &layout.executable));
    for directory in [&layout.bin, &layout.include, &layout.site_packages] {
        tree.directory(directory)?;
    }
    let full = format!("python{}", layout.version);
    tree.link(&format!("{}/{own}", layout.bin), &layout.executable)?;
    for name in ["python", "python3", &full] {
        if name != own {
            tree.link(&format!("{}/{name}", layout.bin), own)?;
        }
    }
    tree.link(&format!("{}/lib64", layout.root), "lib")?;
    let config = format!(
        "home = {home}\ninclude-system-site-packages = false\nversion = {}\nexecutable = {home}/{full}\ncommand = {} -m venv --without-pip {}\n",
        layout.full_version, layout.executable, layout.root
    );
    tree.small_file(&format!("{}/pyvenv.cfg", layout.root), config.as_bytes(), "pyvenv.cfg")
}

/// Compiles what can be compiled, in forked children of one clean parent.
///
/// What CPython writes for a file is not a function of the file alone: equal constants are shared or not depending on when the
/// garbage collector ran, and so on what the process compiled before. `compileall` with workers gave three different trees in
/// four runs on 14,734 files. With the collector off, and each child starting from the same state with a fixed share of
/// the sorted files, it is: whatever the number of cores, the hash seed and the size of the shares.
///
/// No share has files of two of the directories in site-packages, and the parent reads nothing there (`-I -S`: no `.pth`
/// file): what is written for one directory is a function of its own files, so that it can be kept when others change. Nor is
/// byte code of the standard library read or written (`-B -X pycache_prefix`), which is there or not as Debian's scripts have run.
pub(super) const COMPILE: &str = "\
import gc, os, py_compile, sys
sys.pycache_prefix = None
mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
shares = []
def add(files):
    files = [file for file in files if file.endswith('.py')]
    shares.extend(files[start:start + 100] for start in range(0, len(files), 100))
loose = []
for entry in sorted(os.scandir(sys.argv[1]), key=lambda entry: entry.name):
    if not entry.is_dir(follow_symlinks=False):
        loose.append(entry.path)
        continue
    files = []
    for directory, names, found in os.walk(entry.path):
        names.sort()
        files += [os.path.join(directory, name) for name in sorted(found)]
    add(files)
add(loose)
def compile(share):
    for file in share:
        try:
            py_compile.compile(file, doraise=True, quiet=2, invalidation_mode=mode)
        except (py_compile.PyCompileError, SyntaxError, ValueError, RecursionError):
            pass
def child(share):
    status = 1
    try:
        compile(share)
        status = 0
    finally:
        os._exit(status)
def wait():
    _, status = os.wait()
    if status:
        sys.exit('byte code could not be compiled')
gc.disable()
running = 0
for share in shares:
    if running == (os.cpu_count() or 1):
        wait()
        running -= 1
    if os.fork() == 0:
        child(share)
    running += 1
while running:
    wait()
    running -= 1
";

pub(super) const FLAGS: &[&str] = &["-I", "-S", "-B", "-X", "pycache_prefix=/.oclock/none", "-W", "ignore", "-c"];

pub(super) fn compile_command(layout: &Layout) -> Vec<String> {
    let (before, after) = ([layout.executable.as_str()], [COMPILE, &layout.site_packages]);
    before.iter().chain(FLAGS).chain(&after).map(|word| (*word).to_owned()).collect()
}
