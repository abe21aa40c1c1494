//! Pictures, made smaller.

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use rusty_h264::YuvFrame;
use windlass_plugin::Failure;

/// Makes pictures of one size of those of another; what it needs for that it keeps.
pub struct Scaler {
    resizer: Resizer,
    options: ResizeOptions,
    width: u32,
    height: u32,
}

impl Scaler {
    /// Even sides, for colours have half of them.
    pub fn new(width: u32, height: u32) -> Self {
        let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::CatmullRom)).use_alpha(false);
        Self { resizer: Resizer::new(), options, width, height }
    }

    pub fn scale(&mut self, frame: YuvFrame) -> Result<YuvFrame, Failure> {
        let (width, height) = (frame.width as u32, frame.height as u32);
        if (width, height) == (self.width, self.height) {
            return Ok(frame);
        }
        let (to_width, to_height) = (self.width, self.height);
        Ok(YuvFrame {
            width: to_width as usize,
            height: to_height as usize,
            y: self.plane(&frame.y, (width, height), (to_width, to_height))?,
            u: self.plane(&frame.u, (width / 2, height / 2), (to_width / 2, to_height / 2))?,
            v: self.plane(&frame.v, (width / 2, height / 2), (to_width / 2, to_height / 2))?,
        })
    }

    fn plane(
        &mut self,
        plane: &[u8],
        (width, height): (u32, u32),
        (to_width, to_height): (u32, u32),
    ) -> Result<Vec<u8>, Failure> {
        let wrong = |error: &dyn std::fmt::Display| {
            Failure::permanent(format!("scaling {width}×{height} to {to_width}×{to_height}: {error}"))
        };
        let from = ImageRef::new(width, height, plane, PixelType::U8).map_err(|error| wrong(&error))?;
        let mut to = Image::new(to_width, to_height, PixelType::U8);
        self.resizer.resize(&from, &mut to, &self.options).map_err(|error| wrong(&error))?;
        Ok(to.into_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(width: usize, height: usize) -> YuvFrame {
        let y = (0..width * height).map(|at| if at % width < width / 2 { 40 } else { 200 }).collect();
        YuvFrame { width, height, y, u: vec![90; width * height / 4], v: vec![170; width * height / 4] }
    }

    #[test]
    fn what_is_left_stays_left_and_colours_stay() {
        let small = Scaler::new(160, 90).scale(frame(640, 360)).unwrap();
        assert_eq!((small.width, small.height, small.y.len(), small.u.len()), (160, 90, 160 * 90, 80 * 45));
        assert_eq!((small.y[0], small.y[159], small.u[7], small.v[7]), (40, 200, 90, 170));
    }

    #[test]
    fn the_same_size_is_left_alone() {
        assert_eq!(Scaler::new(64, 36).scale(frame(64, 36)).unwrap(), frame(64, 36));
    }
}
