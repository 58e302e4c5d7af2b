//! A reader of pickles that builds data and nothing else.
//!
//! A pickle is a program for a stack machine that may call any function by name. Here every name is looked up in a list of
//! those that state dicts are made of, and what is called is one of the few lines in [`Machine::call`]; any other name is an
//! error. All values lie in one vector and refer to each other by number, so that neither depth nor cycles can harm.

use std::{collections::HashMap, io::Read};

use super::super::stored::Stored;

/// The number of an [`Object`] in [`Pickle::objects`].
pub(super) type Id = usize;

/// What a pickle may hold.
#[derive(Clone, Debug)]
pub(super) enum Object {
    /// None, truth values, floats: what state dicts have beside tensors, and nobody asks for.
    Other,
    /// Bytes that are no text: texts of Python 2 may be either.
    Bytes(Vec<u8>),
    /// An array of NumPy, and the tuple of its state once it is known.
    Array(Option<Id>),
    Int(i64),
    Text(String),
    /// Also sets and `torch.Size`.
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Name(Name),
    Storage(Storage),
    Tensor(View),
}

/// A piece of memory that lies elsewhere in the file.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Storage {
    pub(super) key: String,
    pub(super) stored: Stored,
    pub(super) elements: u64,
}

/// A tensor: where its elements lie in a storage.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct View {
    pub(super) storage: Storage,
    pub(super) offset: usize,
    pub(super) size: Vec<usize>,
    pub(super) stride: Vec<usize>,
}

/// The names that may occur.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Name {
    Dict,
    List,
    /// `_rebuild_tensor_v2(storage, offset, size, stride, …)`, and the older form.
    Tensor,
    /// `_rebuild_parameter(tensor, …)`.
    Parameter,
    Storage(Stored),
    /// `_reconstruct(class, shape, dtype)` of NumPy, which `BUILD` then gives its state.
    Array,
    /// `_codecs.encode(text, "latin1")`: how Python 3 writes bytes for Python 2.
    Encode,
    /// Something that is data, but whose contents are not wanted: options, numbers of NumPy, devices.
    Ignored,
}

/// The allow-list.
fn name(module: &str, name: &str) -> Option<Name> {
    Some(match (module, name) {
        ("collections", "OrderedDict" | "defaultdict" | "Counter") => Name::Dict,
        ("builtins" | "__builtin__", "dict") => Name::Dict,
        ("builtins" | "__builtin__", "list" | "set" | "frozenset" | "tuple") => Name::List,
        ("torch", "Size") => Name::List,
        ("torch._utils", "_rebuild_tensor_v2" | "_rebuild_tensor") => Name::Tensor,
        ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state") => Name::Parameter,
        ("torch" | "torch.cuda", storage) if storage.ends_with("Storage") => {
            Name::Storage(match storage.trim_end_matches("Storage") {
                "Double" => Stored::F64,
                "Float" => Stored::F32,
                "Half" => Stored::F16,
                "BFloat16" => Stored::BF16,
                "Long" => Stored::I64,
                "Int" => Stored::I32,
                "Short" => Stored::I16,
                "Char" => Stored::I8,
                "Byte" => Stored::U8,
                "Bool" => Stored::Bool,
                _ => return None,
            })
        }
        ("torch", "device" | "dtype" | "Generator") => Name::Ignored,
        ("torch", "float32" | "float64" | "float16" | "bfloat16" | "int64") => Name::Ignored,
        ("argparse", "Namespace") => Name::Ignored,
        ("_codecs", "encode") => Name::Encode,
        ("numpy", "dtype" | "ndarray") => Name::Ignored,
        ("numpy.core.multiarray" | "numpy._core.multiarray", "scalar") => Name::Ignored,
        ("numpy.core.multiarray" | "numpy._core.multiarray", "_reconstruct") => Name::Array,
        ("pathlib", "Path" | "PosixPath" | "PurePosixPath" | "WindowsPath") => Name::Ignored,
        _ => return None,
    })
}

/// What a pickle was read to.
pub(super) struct Pickle {
    pub(super) objects: Vec<Object>,
    pub(super) root: Id,
}

/// Bytes that may be read, and how many there are at most.
pub(super) struct Input<'a> {
    pub(super) reader: &'a mut dyn Read,
    pub(super) left: u64,
}

type Result<T> = std::result::Result<T, String>;

/// A value of a pickled dictionary, see [`read_pickled_dict`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Pickled {
    /// Bytes, or an array of bytes of NumPy of any shape.
    Bytes(Vec<u8>),
    /// A list of numbers.
    Numbers(Vec<i64>),
    /// A list of texts.
    Texts(Vec<String>),
    /// A text.
    Text(String),
    /// Anything else.
    Other,
}

/// Reads a pickled dictionary whose keys are texts, as data sets have it (CIFAR's batches): bytes, arrays of bytes, lists of
/// numbers and of texts. No code in it is run: names are looked up in the list of [`read_pth`](super::read_pth).
///
/// # Errors
/// A reason, if it is damaged, no dictionary, or asks for code.
pub fn read_pickled_dict(bytes: &[u8]) -> Result<Vec<(String, Pickled)>> {
    let left = bytes.len() as u64;
    let pickle = read(&mut Input { reader: &mut &*bytes, left })?;
    let Object::Dict(pairs) = &pickle.objects[pickle.root] else {
        return Err(format!("it holds {}", kind(&pickle.objects[pickle.root])));
    };
    let key = |id: Id| match &pickle.objects[id] {
        Object::Text(text) => Ok(text.clone()),
        // Of Python 3, for Python 2.
        Object::Bytes(bytes) => Ok(String::from_utf8_lossy(bytes).into_owned()),
        other => Err(format!("a key is {}", kind(other))),
    };
    pairs.iter().map(|&(name, value)| Ok((key(name)?, pickle.value(value)))).collect()
}

impl Pickle {
    fn value(&self, id: Id) -> Pickled {
        match &self.objects[id] {
            Object::Bytes(bytes) => Pickled::Bytes(bytes.clone()),
            Object::Text(text) => Pickled::Text(text.clone()),
            Object::Array(Some(state)) => self.array(*state).unwrap_or(Pickled::Other),
            Object::List(items) => self.list(items).unwrap_or(Pickled::Other),
            _ => Pickled::Other,
        }
    }

    fn list(&self, items: &[Id]) -> Option<Pickled> {
        let number = |&id: &Id| match &self.objects[id] {
            Object::Int(n) => Some(*n),
            _ => None,
        };
        let text = |&id: &Id| match &self.objects[id] {
            Object::Text(text) => Some(text.clone()),
            _ => None,
        };
        let numbers: Option<Vec<i64>> = items.iter().map(number).collect();
        numbers
            .map(Pickled::Numbers)
            .or_else(|| Some(Pickled::Texts(items.iter().map(text).collect::<Option<_>>()?)))
    }

    /// `(version, shape, dtype, whether in Fortran's order, bytes)`, if its elements are bytes in C's order.
    fn array(&self, state: Id) -> Option<Pickled> {
        let Object::List(parts) = &self.objects[state] else { return None };
        let &[_version, shape, _dtype, _fortran, bytes] = &parts[..] else { return None };
        let Object::List(shape) = &self.objects[shape] else { return None };
        let lengths = shape.iter().map(|&id| match self.objects[id] {
            Object::Int(n) => usize::try_from(n).ok(),
            _ => None,
        });
        let count = lengths
            .collect::<Option<Vec<_>>>()?
            .into_iter()
            .try_fold(1usize, usize::checked_mul)?;
        let bytes = match &self.objects[bytes] {
            Object::Bytes(bytes) => bytes.clone(),
            Object::Text(text) => text.clone().into_bytes(),
            _ => return None,
        };
        (bytes.len() == count).then_some(Pickled::Bytes(bytes))
    }
}

impl Input<'_> {
    fn bytes(&mut self, count: u64) -> Result<Vec<u8>> {
        if self.left == 0 && count > 0 {
            return Err("its pickle is cut off".into());
        }
        if count > self.left {
            return Err(format!("its pickle announces {count} bytes where {} follow", self.left));
        }
        let mut bytes = vec![0; count as usize];
        self.reader.read_exact(&mut bytes).map_err(|_| "its pickle is cut off".to_owned())?;
        self.left -= count;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let bytes = self.bytes(N as u64)?;
        Ok(bytes.try_into().expect("as many as asked for"))
    }

    fn byte(&mut self) -> Result<u8> {
        Ok(self.array::<1>()?[0])
    }

    fn text(&mut self, count: u64) -> Result<String> {
        String::from_utf8(self.bytes(count)?).map_err(|_| "a text in its pickle is no UTF-8".into())
    }

    fn line(&mut self) -> Result<String> {
        let mut line = Vec::new();
        loop {
            match self.byte()? {
                b'\n' => break,
                byte => line.push(byte),
            }
        }
        String::from_utf8(line).map_err(|_| "a text in its pickle is no UTF-8".into())
    }
}

/// Reads one pickle.
///
/// # Errors
/// A reason, if it is damaged or holds what no state dict does.
pub(super) fn read(input: &mut Input<'_>) -> Result<Pickle> {
    Machine::default().run(input)
}

#[derive(Default)]
struct Machine {
    objects: Vec<Object>,
    stack: Vec<Id>,
    /// Heights of the stack.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
    /// Items that calls have copied so far.
    copied: usize,
}

/// More items than the calls of a real state dict copy: a pickle can ask for the same long list again and again.
const MOST_COPIED: usize = 10_000_000;

/// Longer than any key of a storage is.
const LONGEST_KEY: usize = 256;

impl Machine {
    fn push(&mut self, object: Object) {
        self.objects.push(object);
        self.stack.push(self.objects.len() - 1);
    }

    fn pop(&mut self) -> Result<Id> {
        // What lies below a mark is not for those who do not ask for the mark.
        let bottom = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= bottom {
            return Err("its pickle takes from an empty stack".into());
        }
        Ok(self.stack.pop().expect("it is not empty"))
    }

    fn top(&self) -> Result<Id> {
        self.stack.last().copied().ok_or_else(|| "its pickle looks at an empty stack".into())
    }

    fn since_mark(&mut self) -> Result<Vec<Id>> {
        let mark = self.marks.pop().ok_or("its pickle looks for a mark that is not there")?;
        Ok(self.stack.split_off(mark.min(self.stack.len())))
    }

    fn pop_text(&mut self) -> Result<String> {
        let id = self.pop()?;
        self.text(id).map(str::to_owned)
    }

    fn text(&self, id: Id) -> Result<&str> {
        match &self.objects[id] {
            Object::Text(text) => Ok(text),
            other => Err(format!("a text is expected in its pickle, not {}", kind(other))),
        }
    }

    fn list(&self, id: Id) -> Result<&[Id]> {
        match &self.objects[id] {
            Object::List(items) => Ok(items),
            other => Err(format!("a tuple is expected in its pickle, not {}", kind(other))),
        }
    }

    fn number<T: TryFrom<i64>>(&self, id: Id) -> Result<T> {
        match &self.objects[id] {
            Object::Int(n) => T::try_from(*n).map_err(|_| format!("{n} is no length or position")),
            other => Err(format!("a number is expected in its pickle, not {}", kind(other))),
        }
    }

    fn numbers(&self, id: Id) -> Result<Vec<usize>> {
        self.list(id)?.iter().map(|&item| self.number(item)).collect()
    }

    fn append(&mut self, to: Id, items: &[Id]) -> Result<()> {
        match &mut self.objects[to] {
            Object::List(list) => list.extend(items),
            Object::Other => {}
            other => return Err(format!("its pickle appends to {}", kind(other))),
        }
        Ok(())
    }

    fn set_items(&mut self, of: Id, items: &[Id]) -> Result<()> {
        let pairs = items.chunks_exact(2).map(|pair| (pair[0], pair[1]));
        match &mut self.objects[of] {
            _ if items.len() % 2 == 1 => return Err("its pickle has a key without a value".into()),
            Object::Dict(dict) => dict.extend(pairs),
            Object::Other => {}
            other => return Err(format!("its pickle sets items of {}", kind(other))),
        }
        Ok(())
    }

    fn global(&mut self, module: &str, attribute: &str) -> Result<()> {
        let found = name(module, attribute).ok_or_else(|| {
            format!(
                "its pickle asks for {module}.{attribute}, which no state dict needs; nothing was run. Save \
                 model.state_dict() instead"
            )
        })?;
        self.push(Object::Name(found));
        Ok(())
    }

    /// What a call by the pickle gives: one of these, or an error.
    fn call(&mut self, callable: Id, arguments: Id) -> Result<()> {
        let Object::Name(name) = self.objects[callable] else {
            return Err(format!("its pickle calls {}", kind(&self.objects[callable])));
        };
        let arguments = self.list(arguments)?;
        let lengths = arguments.iter().map(|&id| match &self.objects[id] {
            Object::List(items) => items.len(),
            Object::Dict(pairs) => 2 * pairs.len(),
            _ => 1,
        });
        let (copied, arguments) = (lengths.sum::<usize>() + arguments.len(), arguments.to_vec());
        self.copied = self.copied.saturating_add(copied);
        if self.copied > MOST_COPIED {
            return Err("its pickle copies the same items again and again".into());
        }
        let argument = |i: usize| {
            arguments
                .get(i)
                .copied()
                .ok_or_else(|| "a call in its pickle lacks an argument".to_owned())
        };
        let result = match name {
            Name::Dict => Object::Dict(self.pairs(&arguments)?),
            Name::List => match arguments.first() {
                Some(&items) => Object::List(self.list(items)?.to_vec()),
                None => Object::List(Vec::new()),
            },
            Name::Tensor => {
                let id = argument(0)?;
                let Object::Storage(storage) = &self.objects[id] else {
                    return Err(format!("a tensor is made of {}", kind(&self.objects[id])));
                };
                Object::Tensor(View {
                    storage: storage.clone(),
                    offset: self.number(argument(1)?)?,
                    size: self.numbers(argument(2)?)?,
                    stride: self.numbers(argument(3)?)?,
                })
            }
            Name::Parameter => {
                self.stack.push(argument(0)?);
                return Ok(());
            }
            Name::Array => Object::Array(None),
            Name::Encode => {
                let text = self.text(argument(0)?)?;
                // Latin-1 is the first 256 characters.
                let bytes: Option<Vec<u8>> =
                    text.chars().map(|c| (c as u32).try_into().ok()).collect();
                bytes.map_or(Object::Other, Object::Bytes)
            }
            Name::Ignored => Object::Other,
            Name::Storage(_) => return Err("its pickle calls a type of storage".into()),
        };
        self.push(result);
        Ok(())
    }

    /// `OrderedDict([[key, value], …])`, `OrderedDict()`, `defaultdict(type)`.
    fn pairs(&self, arguments: &[Id]) -> Result<Vec<(Id, Id)>> {
        let Some(&first) = arguments.first() else { return Ok(Vec::new()) };
        match &self.objects[first] {
            Object::Dict(pairs) => Ok(pairs.clone()),
            Object::List(items) => items
                .iter()
                .map(|&item| match self.list(item)? {
                    &[key, value] => Ok((key, value)),
                    other => Err(format!("an item of a dictionary has {} parts", other.len())),
                })
                .collect(),
            _ => Ok(Vec::new()),
        }
    }

    /// `("storage", type, key, location, elements)`.
    fn storage(&self, id: Id) -> Result<Storage> {
        let parts = self.list(id)?;
        let &[tag, class, key, _location, elements, ..] = parts else {
            return Err(format!("a storage has {} parts", parts.len()));
        };
        if self.text(tag)? != "storage" {
            return Err(format!("{:?} is no storage", self.text(tag)?));
        }
        let Object::Name(Name::Storage(stored)) = self.objects[class] else {
            return Err(format!("the type of a storage is {}", kind(&self.objects[class])));
        };
        let (key, elements) = (self.text(key)?.to_owned(), self.number(elements)?);
        if key.len() > LONGEST_KEY {
            return Err(format!("the name of a storage has {} bytes", key.len()));
        }
        Ok(Storage { key, stored, elements })
    }

    fn remember(&mut self, at: u32) -> Result<()> {
        let top = self.top()?;
        self.memo.insert(at, top);
        Ok(())
    }

    fn recall(&mut self, at: u32) -> Result<()> {
        let id = *self.memo.get(&at).ok_or_else(|| format!("its pickle has no memo {at}"))?;
        self.stack.push(id);
        Ok(())
    }

    fn tuple(&mut self, length: usize) -> Result<()> {
        let mut items = (0..length).map(|_| self.pop()).collect::<Result<Vec<Id>>>()?;
        items.reverse();
        self.push(Object::List(items));
        Ok(())
    }

    /// The opcodes of protocols 0 to 4 that Python writes for data (`pickletools` lists them all).
    fn run(mut self, input: &mut Input<'_>) -> Result<Pickle> {
        loop {
            let opcode = input.byte()?;
            match opcode {
                b'.' => return Ok(Pickle { root: self.pop()?, objects: self.objects }),
                // PROTO, FRAME
                0x80 => drop(input.byte()?),
                0x95 => drop(input.array::<8>()?),
                b'(' => self.marks.push(self.stack.len()),
                b'0' => drop(self.pop()?),
                b'1' => drop(self.since_mark()?),
                b'2' => {
                    let top = self.top()?;
                    self.stack.push(top);
                }
                // None, True, False, float
                b'N' | 0x88 | 0x89 => self.push(Object::Other),
                b'G' => {
                    input.array::<8>()?;
                    self.push(Object::Other);
                }
                b'K' => {
                    let n = input.byte()?;
                    self.push(Object::Int(n.into()));
                }
                b'M' => {
                    let n = u16::from_le_bytes(input.array()?);
                    self.push(Object::Int(n.into()));
                }
                b'J' => {
                    let n = i32::from_le_bytes(input.array()?);
                    self.push(Object::Int(n.into()));
                }
                0x8a => {
                    let count = input.byte()?;
                    let bytes = input.bytes(count.into())?;
                    self.push(long(&bytes));
                }
                // Texts: 1, 4, 8 bytes of length; and those of Python 2, which may be bytes.
                0x8c => {
                    let count = input.byte()?;
                    let text = input.text(count.into())?;
                    self.push(Object::Text(text));
                }
                b'X' => {
                    let count = u32::from_le_bytes(input.array()?);
                    let text = input.text(count.into())?;
                    self.push(Object::Text(text));
                }
                0x8d => {
                    let count = u64::from_le_bytes(input.array()?);
                    let text = input.text(count)?;
                    self.push(Object::Text(text));
                }
                b'U' | b'C' => {
                    let count = input.byte()?;
                    let bytes = input.bytes(count.into())?;
                    self.push(text_or_bytes(bytes));
                }
                b'T' | b'B' => {
                    let count = u32::from_le_bytes(input.array()?);
                    let bytes = input.bytes(count.into())?;
                    self.push(text_or_bytes(bytes));
                }
                // Containers.
                b')' | b']' | 0x8f => self.push(Object::List(Vec::new())),
                b'}' => self.push(Object::Dict(Vec::new())),
                b't' | b'l' | 0x91 => {
                    let items = self.since_mark()?;
                    self.push(Object::List(items));
                }
                b'd' => {
                    let items = self.since_mark()?;
                    self.push(Object::Dict(Vec::new()));
                    let dict = self.top()?;
                    self.set_items(dict, &items)?;
                }
                0x85..=0x87 => self.tuple(usize::from(opcode - 0x84))?,
                b'a' => {
                    let item = self.pop()?;
                    let list = self.top()?;
                    self.append(list, &[item])?;
                }
                b'e' | 0x90 => {
                    let items = self.since_mark()?;
                    let list = self.top()?;
                    self.append(list, &items)?;
                }
                b's' => {
                    let (value, key) = (self.pop()?, self.pop()?);
                    let dict = self.top()?;
                    self.set_items(dict, &[key, value])?;
                }
                b'u' => {
                    let items = self.since_mark()?;
                    let dict = self.top()?;
                    self.set_items(dict, &items)?;
                }
                // Memo.
                b'q' => {
                    let at = input.byte()?;
                    self.remember(at.into())?;
                }
                b'r' => {
                    let at = u32::from_le_bytes(input.array()?);
                    self.remember(at)?;
                }
                0x94 => {
                    // As Python does: the number of memos so far.
                    let at = self.memo.len() as u32;
                    self.remember(at)?;
                }
                b'h' => {
                    let at = input.byte()?;
                    self.recall(at.into())?;
                }
                b'j' => {
                    let at = u32::from_le_bytes(input.array()?);
                    self.recall(at)?;
                }
                // Names and what is done with them.
                b'c' => {
                    let (module, attribute) = (input.line()?, input.line()?);
                    self.global(&module, &attribute)?;
                }
                0x93 => {
                    let attribute = self.pop_text()?;
                    let module = self.pop_text()?;
                    self.global(&module, &attribute)?;
                }
                b'R' | 0x81 => {
                    let (arguments, callable) = (self.pop()?, self.pop()?);
                    self.call(callable, arguments)?;
                }
                // BUILD: attributes, of which none is wanted (a state dict has `_metadata`) but what an array holds.
                b'b' => {
                    let (state, of) = (self.pop()?, self.top()?);
                    if let Object::Array(known) = &mut self.objects[of] {
                        *known = Some(state);
                    }
                }
                b'Q' => {
                    let id = self.pop()?;
                    let storage = self.storage(id)?;
                    self.push(Object::Storage(storage));
                }
                other => {
                    return Err(format!(
                        "its pickle has the operation {other:#04x}, which no state dict needs"
                    ));
                }
            }
        }
    }
}

fn text_or_bytes(bytes: Vec<u8>) -> Object {
    String::from_utf8(bytes).map_or_else(|error| Object::Bytes(error.into_bytes()), Object::Text)
}

/// A little-endian number of any length; what does not fit into 64 bits is of no use here.
fn long(bytes: &[u8]) -> Object {
    if bytes.len() > 8 {
        return Object::Other;
    }
    let negative = bytes.last().is_some_and(|&last| last >= 0x80);
    let mut all = [if negative { 0xff } else { 0 }; 8];
    all[..bytes.len()].copy_from_slice(bytes);
    Object::Int(i64::from_le_bytes(all))
}

fn kind(object: &Object) -> &'static str {
    match object {
        Object::Other => "none or a float",
        Object::Bytes(_) => "bytes",
        Object::Array(_) => "an array of NumPy",
        Object::Int(_) => "a number",
        Object::Text(_) => "a text",
        Object::List(_) => "a list",
        Object::Dict(_) => "a dictionary",
        Object::Name(_) => "a name",
        Object::Storage(_) => "a storage",
        Object::Tensor(_) => "a tensor",
    }
}
