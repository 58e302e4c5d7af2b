//! [`SudokuNet`]: the fully convolutional net of the paper's Sudoku experiment.

use autograd::Var;
use nn::{
    Context, Forward, Module,
    layers::{BatchNorm2d, Conv2d, ReLU, ReflectionPad2d, Sequential},
};

/// Size of a [`SudokuNet`]; the defaults are the paper's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SudokuNetConfig {
    /// Number of blocks. Default 10 (the reference code's command line says 15: discrepancy D11).
    pub blocks: usize,
    /// Channels of every block. Default 256.
    pub channels: usize,
}

impl Default for SudokuNetConfig {
    fn default() -> Self {
        SudokuNetConfig { blocks: 10, channels: 256 }
    }
}

/// Reflection pad 1, 3x3 convolution, batch norm, ReLU.
#[derive(Module)]
struct Block {
    net: Sequential,
}

impl Block {
    fn new(in_channels: usize, channels: usize) -> Self {
        let net = Sequential::new()
            .with(ReflectionPad2d::new([1; 4]))
            .with(Conv2d::new(in_channels, channels, 3))
            .with(BatchNorm2d::new(channels))
            .with(ReLU);
        Block { net }
    }
}

impl Forward for Block {
    fn forward(&self, x: &Var, cx: &mut Context) -> Var {
        self.net.call(x, cx)
    }
}

/// Blocks of [reflection pad 1, conv 3x3, batch norm, ReLU], then a 1x1 convolution to one logit a digit and cell.
///
/// `[N, 1, 9, 9]` (digit / 9 − 0.5, a blank is digit 0) to `[N, 9, 9, 9]`: logits of the digits 1..9 for the 9x9 cells. State dict
/// as in the reference code: `conv_layers.0.net.1.weight`, …, `last_conv.bias`. Paper section 5 and A.5.
///
/// ```
/// use nn::ModuleExt;
/// use vision::models::{SudokuNet, SudokuNetConfig};
///
/// assert_eq!(SudokuNet::new(&SudokuNetConfig::default()).num_parameters(), 5_320_713);
/// ```
#[derive(Module)]
pub struct SudokuNet {
    conv_layers: Vec<Block>,
    last_conv: Conv2d,
}

impl SudokuNet {
    /// A net of this size.
    pub fn new(config: &SudokuNetConfig) -> Self {
        let in_channels = |block: usize| if block == 0 { 1 } else { config.channels };
        SudokuNet {
            conv_layers: (0..config.blocks)
                .map(|i| Block::new(in_channels(i), config.channels))
                .collect(),
            last_conv: Conv2d::new(in_channels(config.blocks), 9, 1),
        }
    }
}

impl Forward for SudokuNet {
    fn forward(&self, x: &Var, cx: &mut Context) -> Var {
        let mut y = x.clone();
        for block in &self.conv_layers {
            y = block.call(&y, cx);
        }
        self.last_conv.call(&y, cx)
    }
}
