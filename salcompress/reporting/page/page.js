// What all scripts of the page share: its data, and short ways to its elements.
"use strict";

const page = {
  data: JSON.parse(document.getElementById("data").textContent),
  byId: (id) => document.getElementById(id),
  all: (selector, root = document) => [...root.querySelectorAll(selector)],
  /** An element with properties and children. */
  make(tag, properties = {}, ...children) {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  },
  /** A rate in kB of an image with so many pixels. */
  kilobytes: (bpp, pixels) => (bpp * pixels) / 8000,
};
