/** Maps grey values to pixels with a table of 256 entries, so that contrast changes need no request to the server. */

import type { Slice } from "./api";

/** Packed RGBA of each grey value; `black` and `white` are the values in 0..255 that are shown as such. */
export function greyTable(black: number, white: number, inverted: boolean): Uint32Array {
  const table = new Uint32Array(256);
  const span = Math.max(white - black, 1);
  for (let value = 0; value < 256; value++) {
    const share = Math.min(Math.max((value - black) / span, 0), 1);
    const grey = Math.round(255 * (inverted ? 1 - share : share));
    table[value] = 0xff000000 | (grey << 16) | (grey << 8) | grey;
  }
  return table;
}

/** Paints a slice on a canvas of the same size; `turned` swaps rows and columns. */
export function paintSlice(canvas: HTMLCanvasElement, slice: Slice, table: Uint32Array, turned: boolean): void {
  const { rows, cols, pixels } = slice;
  const [width, height] = turned ? [rows, cols] : [cols, rows];
  if (canvas.width !== width) canvas.width = width;
  if (canvas.height !== height) canvas.height = height;
  const image = new ImageData(width, height);
  const out = new Uint32Array(image.data.buffer);
  if (turned) {
    for (let row = 0, at = 0; row < rows; row++)
      for (let col = 0; col < cols; col++, at++) out[col * rows + row] = table[pixels[at]!]!;
  } else {
    for (let at = 0; at < pixels.length; at++) out[at] = table[pixels[at]!]!;
  }
  canvas.getContext("2d")!.putImageData(image, 0, 0);
}
