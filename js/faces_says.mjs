// The line below FaceDetect's picture: how things stand and what to do.

// t: words. result: what the last run sent. now: its picture in view. chosen: whether the workflow
// holds a choice. broken: the preview could not be loaded. problem: the choice could not be read.
// differs: it is another than the last run's.
export function says(t, { result, now, chosen, broken, problem, differs }) {
  const parts = [standing()];
  if (now?.leftOut) parts.push(t("moreFaces", { count: now.leftOut }));
  if (result.leftOut) parts.push(t("morePictures", { count: result.leftOut }));
  return parts.join(" ");

  function standing() {
    if (result.state === "other") return t("otherVersion");
    if (!now) return t(chosen ? "runToSeeChoice" : "runToSee");
    if (now.error) return t("notSaved", { error: now.error });
    if (broken) return t("gone");
    if (problem) return t("badChoice");
    if (differs) return t("runToApply");
    return t(now.faces.length ? "hint" : "noFace");
  }
}
