// A recording from the microphone, in whatever of webm and mp4 the browser writes; the server reads both.

/** Starts; the promise's function stops and gives the file. */
export async function record() {
  if (!navigator.mediaDevices) throw new Error("Browsers record on https and on this machine only; choose a file.");
  const stream = await navigator.mediaDevices.getUserMedia({ audio: true }).catch((error) => {
    throw new Error(`The microphone cannot be used: ${error.message}.`);
  });
  const recorder = new MediaRecorder(stream);
  const parts = [];
  recorder.ondataavailable = ({ data }) => parts.push(data);
  recorder.start(1000);
  return () =>
    new Promise((resolve) => {
      recorder.onstop = () => {
        for (const track of stream.getTracks()) track.stop();
        const type = recorder.mimeType.split(";")[0];
        resolve(new File(parts, `microphone.${type.endsWith("mp4") ? "m4a" : "webm"}`, { type }));
      };
      recorder.stop();
    });
}
