// A report's viewers: the painting over the photograph with a divider, and every level at the same place.
"use strict";

(function () {
  const data = JSON.parse(document.getElementById("data").textContent);
  if (!data.result) {
    return;
  }
  const shape = data.result.width / data.result.height;
  const stage = document.getElementById("stage");
  stage.style.aspectRatio = String(Math.min(3, Math.max(0.6, shape)));
  const divider = document.getElementById("divider");
  const records = data.content ? [data.result, data.content] : [data.result];
  const viewer = tilefarmZoom.open(
    document.getElementById("result"),
    records,
    "The picture in deep zoom. Arrow keys move, plus and minus zoom, 0 shows the whole."
  );

  function fullScreen() {
    if (document.fullscreenElement) {
      document.exitFullscreen();
    } else if (stage.requestFullscreen) {
      stage.requestFullscreen();
    }
  }

  // The photograph lies over the painting and is cut off at the divider. Where it covers all of it, the
  // painting is cut off there too: it would shine through the edges.
  function split() {
    const covered = !data.content.x && !data.content.y && data.content.across === 1;
    let share = 0.5;

    function part(item, left, right) {
      const size = item.getContentSize();
      const from = Math.max(0, left);
      const to = Math.min(size.x, right);
      const opacity = from < to ? 1 : 0;
      if (item.getOpacity() !== opacity) {
        item.setOpacity(opacity);
      }
      if (opacity) {
        item.setClip(new OpenSeadragon.Rect(from, 0, to - from, size.y));
      }
    }

    function cut() {
      if (viewer.world.getItemCount() < 2) {
        return;
      }
      const [painting, photograph] = [0, 1].map((index) => viewer.world.getItemAt(index));
      const edge = new OpenSeadragon.Point(share * stage.clientWidth, 0);
      part(photograph, 0, photograph.viewerElementToImageCoordinates(edge).x);
      part(painting, covered ? painting.viewerElementToImageCoordinates(edge).x : 0, Infinity);
    }

    function move(to) {
      share = Math.min(1, Math.max(0, to));
      const percent = Math.round(100 * share);
      divider.style.left = 100 * share + "%";
      divider.setAttribute("aria-valuenow", String(percent));
      divider.setAttribute("aria-valuetext", "Photograph on the left " + percent + " percent");
      document.getElementById("label-before").hidden = share < 0.12;
      document.getElementById("label-after").hidden = share > 0.88;
      cut();
    }

    const steps = {
      ArrowLeft: () => share - 0.02,
      ArrowDown: () => share - 0.02,
      ArrowRight: () => share + 0.02,
      ArrowUp: () => share + 0.02,
      PageDown: () => share - 0.1,
      PageUp: () => share + 0.1,
      Home: () => 0,
      End: () => 1,
    };
    divider.addEventListener("keydown", (event) => {
      if (event.key in steps) {
        event.preventDefault();
        move(steps[event.key]());
      }
    });
    divider.addEventListener("pointerdown", (event) => {
      divider.setPointerCapture(event.pointerId);
      event.preventDefault();
      divider.focus();
    });
    divider.addEventListener("pointermove", (event) => {
      if (divider.hasPointerCapture(event.pointerId)) {
        const box = stage.getBoundingClientRect();
        move((event.clientX - box.left) / box.width);
      }
    });
    ["open", "viewport-change", "resize"].forEach((kind) => viewer.addHandler(kind, cut));
    move(share);
  }

  // Made when they come into view: a print has ten levels and more.
  function levels() {
    const stages = data.levels.map((one) => [document.getElementById("level-" + one.level), one.zoom]);
    const seen = new IntersectionObserver((entries) => {
      entries
        .filter((entry) => entry.isIntersecting)
        .forEach((entry) => {
          seen.unobserve(entry.target);
          follow(entry.target, stages.find(([element]) => element === entry.target)[1]);
        });
    });
    stages.forEach(([element]) => {
      element.style.aspectRatio = String(Math.min(2, Math.max(0.6, shape)));
      seen.observe(element);
    });
  }

  function follow(element, record) {
    const small = tilefarmZoom.open(element, [record], "", { tabIndex: -1, minZoomImageRatio: 0 });
    small.canvas.setAttribute("role", "img");
    small.canvas.setAttribute("aria-label", element.parentElement.querySelector("h3").textContent);
    small.setMouseNavEnabled(false);
    tilefarmZoom.together([viewer, small], false);
    element.addEventListener("click", (event) => {
      const box = element.getBoundingClientRect();
      const point = new OpenSeadragon.Point(event.clientX - box.left, event.clientY - box.top);
      viewer.viewport.panTo(small.viewport.viewerElementToViewportCoordinates(point));
      viewer.viewport.applyConstraints();
    });
  }

  if (data.content) {
    split();
  } else {
    [divider, document.getElementById("label-before"), document.getElementById("label-after")].forEach(
      (one) => (one.hidden = true)
    );
  }
  viewer.addOnceHandler("open", () => {
    document.querySelectorAll("[data-controls]").forEach((bar, index) => {
      tilefarmZoom.controls(bar, viewer, null, index ? [] : [["Full screen", "Full screen", fullScreen]]);
    });
    levels();
    document.documentElement.dataset.ready = "yes";
  });
})();
