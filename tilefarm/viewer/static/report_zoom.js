// Deep-zoom viewers for pages that are opened from disk: no request but for tiles, and nothing read back.
"use strict";

var tilefarmZoom = (function () {
  const STILL = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
  const CLOSEST = 8; // a pixel of the finest picture is shown at most so many times larger
  const STEP = 1.5;

  function source(record) {
    return {
      Image: {
        xmlns: "http://schemas.microsoft.com/deepzoom/2008",
        Url: record.url,
        Format: "jpg",
        Overlap: String(record.overlap),
        TileSize: String(record.tile),
        Size: { Width: String(record.width), Height: String(record.height) },
      },
    };
  }

  // A viewer of pictures that lie on each other; places are shares of the first one's width.
  function open(element, records, name, options) {
    const viewer = OpenSeadragon(
      Object.assign(
        {
          element: element,
          tileSources: records.map((record) => ({
            tileSource: source(record),
            x: record.x || 0,
            y: record.y || 0,
            width: record.across || 1,
          })),
          drawer: "canvas", // the others would read tiles back, which file:// forbids
          showNavigationControl: false,
          animationTime: STILL ? 0 : 0.6,
          visibilityRatio: 0.6,
          minZoomImageRatio: 0.8,
          maxZoomPixelRatio: CLOSEST,
          smoothTileEdgesMinZoom: Infinity,
          gestureSettingsMouse: { clickToZoom: false, dblClickToZoom: true },
        },
        options || {}
      )
    );
    stayWhole(viewer);
    viewer.canvas.setAttribute("role", "application");
    viewer.canvas.setAttribute("aria-label", name);
    return viewer;
  }

  // A picture that was seen as a whole still is when the window has another size, or the phone is turned.
  function stayWhole(viewer) {
    let whole = true;
    let waiting = false;
    viewer.addHandler("resize", () => {
      if (whole && !waiting) {
        waiting = true;
        window.requestAnimationFrame(() => { // the viewer scales the picture after this event
          waiting = false;
          viewer.viewport.goHome(true);
        });
      }
    });
    viewer.addHandler("viewport-change", () => {
      const port = viewer.viewport;
      whole = waiting || Math.abs(port.getZoom() / port.getHomeZoom() - 1) < 0.01;
    });
  }

  // Brings another viewer to the leader's place: the same middle, and as many times closer than its whole.
  function place(leader, other) {
    if (!other.world.getItemCount()) {
      return;
    }
    const from = leader.viewport;
    const to = other.viewport;
    to.zoomTo((to.getHomeZoom() * from.getZoom(true)) / from.getHomeZoom(), null, true);
    to.panTo(from.getCenter(true), true);
  }

  // Keeps viewers together. The first leads; of equals, whoever was touched last.
  function together(viewers, equals) {
    let leader = viewers[0];
    viewers.forEach((viewer) => {
      (equals ? ["pointerdown", "wheel", "keydown"] : []).forEach((kind) =>
        viewer.element.addEventListener(kind, () => (leader = viewer), { capture: true, passive: true })
      );
      viewer.addHandler("open", () => place(leader, viewer));
      viewer.addHandler("resize", () => window.requestAnimationFrame(() => place(leader, viewer)));
      viewer.addHandler("viewport-change", () => {
        if (viewer === leader) {
          viewers.filter((one) => one !== viewer).forEach((one) => place(viewer, one));
        }
      });
    });
    return { lead: (viewer) => (leader = viewer) };
  }

  // Buttons that move a viewer; `before` is called first.
  function controls(bar, viewer, before, more) {
    const port = viewer.viewport;
    const pan = (x, y) => () => {
      const step = port.getBounds().width / 4;
      port.panBy(new OpenSeadragon.Point(x * step, y * step));
    };
    const zoom = (factor) => () => port.zoomBy(factor);
    const buttons = [
      ["Closer", "+", zoom(STEP)],
      ["Farther", "−", zoom(1 / STEP)],
      ["Whole picture", "Whole", () => port.goHome()],
      ["Move left", "←", pan(-1, 0)],
      ["Move right", "→", pan(1, 0)],
      ["Move up", "↑", pan(0, -1)],
      ["Move down", "↓", pan(0, 1)],
    ].concat(more || []);
    buttons.forEach(([name, sign, act]) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = sign;
      button.title = name;
      button.setAttribute("aria-label", name);
      button.addEventListener("click", () => {
        if (before) {
          before();
        }
        act();
        port.applyConstraints();
      });
      bar.append(button);
    });
  }

  return { open: open, together: together, controls: controls };
})();
