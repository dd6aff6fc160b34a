// The picture in a deep-zoom viewer, and the photograph over it.
// The viewer's coordinates are fractions of the picture's width, so that a place keeps its numbers from level to level.

const TILE = 256;
/** Screen pixels for a pixel of the picture, at most. */
const LARGEST = 8;
/** With data saving on, a new picture is fetched so often at most. */
const SPARING = 30000;
/** What did not come is asked for again so much later. */
const AGAIN = 3000;

/** A deep-zoom source: level n is the whole picture halved ceil(log2(longest side)) - n times. */
function source({ width, height }, address) {
  return {
    width,
    height,
    tileSize: TILE,
    tileOverlap: 0,
    minLevel: 0,
    maxLevel: Math.ceil(Math.log2(Math.max(width, height, 1))),
    getTileUrl: (level, x, y) => `${address}/${level}/${x}_${y}.jpg`,
  };
}

/**
 * OpenSeadragon adds a style element of its own, which the page's security policy forbids, unless it finds one with
 * this mark. An element of another namespace has the mark and is no style sheet. (Its rule takes away the outline
 * that shows the focus; nothing is missed.)
 */
function forgoStyleElement() {
  const mark = document.createElementNS("urn:tilefarm", "style");
  mark.setAttribute("data-openseadragon-mobile-css", "true");
  document.head.append(mark);
}

export class Picture {
  /** @param {HTMLElement} element to fill; @param {() => void} onView after every move, zoom, resize and new picture */
  constructor(element, onView) {
    forgoStyleElement();
    this.element = element;
    this.shown = null; // {item, version, width, height} on the screen
    this.coming = null; // the same, being fetched behind it
    this.wanted = null; // what the run has now: {version, width, height}
    this.started = 0;
    this.broken = null; // the version of which a tile did not come
    this.photograph = null; // {version, item}; no item while it is on its way
    this.wipe = 0;
    this.fitted = true; // the whole picture is in view, and stays so when the window changes
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    this.viewer = window.OpenSeadragon({
      element,
      drawer: "canvas",
      showNavigationControl: false,
      keyboardNavEnabled: false, // keys.js
      preserveViewport: true,
      animationTime: still ? 0 : 0.6,
      immediateRender: still,
      minZoomImageRatio: 0.2, // the first levels are small: pixel for pixel they fill a part of the view
      maxZoomPixelRatio: LARGEST,
      visibilityRatio: 0.3,
      maxImageCacheCount: 120,
      maxTilesPerFrame: 4,
      imageLoaderLimit: 6,
      gestureSettingsMouse: { clickToZoom: false, dblClickToZoom: true },
    });
    this.viewer.addHandler("update-viewport", () => {
      this.clip();
      onView();
    });
    // After the event, as the viewer goes on with a zoom of its own.
    this.viewer.addHandler("resize", () => queueMicrotask(() => this.fitted && this.viewer.viewport.goHome(true)));
    for (const touched of ["canvas-drag", "canvas-scroll", "canvas-pinch", "canvas-double-click"]) {
      this.viewer.addHandler(touched, () => (this.fitted = false));
    }
    this.viewer.addHandler("tile-load-failed", ({ tiledImage }) => this.failed(tiledImage));
    document.addEventListener("visibilitychange", () => this.next());
  }

  /** Shows this picture as soon as what is in view of it is here; until then the one before stays. */
  show(picture) {
    this.wanted = picture;
    this.next();
  }

  /** Fetches what is wanted, one after the other: a picture that changes every second would else never be shown. */
  next() {
    const wanted = this.wanted;
    if (!wanted || this.coming || document.hidden) return;
    if (this.shown?.version === wanted.version && this.broken !== wanted.version) return;
    clearTimeout(this.timer);
    const wait = this.started + this.pause(wanted) - Date.now();
    if (wait > 0) {
      this.timer = setTimeout(() => this.next(), wait);
      return;
    }
    this.started = Date.now();
    const coming = (this.coming = { ...wanted, item: null });
    this.viewer.addTiledImage({
      tileSource: source(wanted, `picture/${encodeURIComponent(wanted.version)}`),
      index: this.shown ? 1 : 0,
      opacity: this.shown ? 0 : 1,
      preload: true,
      success: ({ item }) => this.arriving(coming, item),
    });
  }

  /** Milliseconds from one fetch to the next. */
  pause(wanted) {
    if (this.broken === wanted.version) return AGAIN;
    return this.shown && navigator.connection?.saveData ? SPARING : 0;
  }

  arriving(coming, item) {
    coming.item = item;
    if (this.coming !== coming) {
      this.viewer.world.removeItem(item); // of the run before
    } else if (!this.shown) {
      if (this.fitted) this.viewer.viewport.goHome(true);
      this.swap(coming);
    } else if (item.getFullyLoaded()) {
      this.swap(coming);
    } else {
      item.addHandler("fully-loaded-change", ({ fullyLoaded }) => fullyLoaded && this.swap(coming));
    }
  }

  swap(coming) {
    if (this.coming !== coming) return;
    const before = this.shown;
    this.shown = coming;
    this.coming = null;
    this.broken = null;
    coming.item.setOpacity(1);
    // The viewer draws in the next frame: taken away after it, the old picture leaves no gap.
    if (before) this.viewer.addOnceHandler("update-viewport", () => this.viewer.world.removeItem(before.item));
    this.viewer.forceRedraw();
    this.element.dataset.version = coming.version;
    this.next();
  }

  /**
   * A tile that did not come: the picture has been followed by another one, or the connection is lost. What is
   * shown stays; the newest picture is fetched, at once or, where it is the one with the hole, a little later.
   */
  failed(item) {
    const holed = [this.coming, this.shown].find((picture) => picture?.item === item);
    if (!holed) return;
    this.broken = holed.version;
    if (holed === this.coming) {
      this.coming = null;
      // Later, as the viewer is in the middle of this item's tiles.
      setTimeout(() => this.viewer.world.removeItem(item));
    }
    this.next();
  }

  /** Takes away what is shown: it is another run's. */
  clear() {
    this.viewer.world.removeAll();
    clearTimeout(this.timer);
    this.shown = this.coming = this.wanted = this.broken = this.photograph = null;
    delete this.element.dataset.version;
  }

  /** The photograph over the left `share` (0..1) of the view; it is fetched when it is first looked at. */
  compare(share, content) {
    if (share === this.wipe && this.photograph?.version === content.version) return;
    this.wipe = share;
    if (this.photograph?.item) {
      this.photograph.item.setOpacity(share > 0 ? 1 : 0);
      this.clip();
    } else if (share > 0 && this.photograph === null) {
      this.fetch(content);
    }
    this.viewer.forceRedraw();
  }

  fetch(content) {
    const coming = (this.photograph = { version: content.version, item: null });
    this.viewer.addTiledImage({
      tileSource: source(content, `content/${encodeURIComponent(content.version)}`),
      opacity: 0,
      success: ({ item }) => {
        if (this.photograph !== coming) {
          this.viewer.world.removeItem(item); // of the run before
          return;
        }
        coming.item = item;
        item.setOpacity(this.wipe > 0 ? 1 : 0);
        this.clip();
        this.viewer.forceRedraw();
      },
      error: () => this.photograph === coming && (this.photograph = null),
    });
  }

  /** The photograph ends at a line of the view, wherever the picture is moved to. */
  clip() {
    const item = this.photograph?.item;
    if (!item || !this.wipe) return;
    const { x: width, y: height } = item.getContentSize();
    const edge = this.viewer.viewport.pointFromPixel(new window.OpenSeadragon.Point(this.wipe * this.width, 0), true);
    const shown = Math.min(Math.max(edge.x, 0), 1) * width;
    item.setOpacity(shown > 0 ? 1 : 0);
    if (shown > 0 && item.getClip()?.width !== shown) {
      item.setClip(new window.OpenSeadragon.Rect(0, 0, shown, height));
    }
  }

  get width() {
    return this.element.clientWidth;
  }

  /** Where a place (fractions of the picture) is on the element, in its pixels. */
  place(across, down) {
    const shape = this.shown ? this.shown.height / this.shown.width : 1;
    return this.viewer.viewport.pixelFromPoint(new window.OpenSeadragon.Point(across, down * shape), true);
  }

  /** Screen pixels for a pixel of the picture that is shown, or null. */
  get scale() {
    if (!this.shown) return null;
    return (this.viewer.viewport.getZoom(true) * this.width * window.devicePixelRatio) / this.shown.width;
  }

  zoomBy(factor) {
    this.fitted = false;
    this.viewer.viewport.zoomBy(factor).applyConstraints();
  }

  moveBy(across, down) {
    this.fitted = false;
    const step = 0.12 / this.viewer.viewport.getZoom();
    this.viewer.viewport.panBy(new window.OpenSeadragon.Point(across * step, down * step)).applyConstraints();
  }

  fit() {
    this.fitted = true;
    this.viewer.viewport.goHome();
  }

  pixelForPixel() {
    if (!this.shown) return;
    this.fitted = false;
    this.viewer.viewport.zoomTo(this.shown.width / (this.width * window.devicePixelRatio)).applyConstraints();
  }
}
